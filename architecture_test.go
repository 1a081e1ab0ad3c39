// Package supervise_test holds the rules of the code (see ARCHITECTURE.md):
// who may import whom, where unsafe code lives, how long things may be.
package supervise_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "supervise"

// mayImport says what of ours a package may import; a name with a slash at the
// end means all below it. A package that is not here may not exist.
var mayImport = map[string][]string{
	"cmd/supervise": {"supervisor", "control", "plugins/client", "tracer", "restorer", "treestate", "taskstate", "fdstate", "netstate", "memstate", "ipcstate", "memimg", "plugins", "policy", "virtual", "internal/"},
	"supervisor":    {"control", "plugins/client", "tracer", "restorer", "plugins", "policy", "virtual", "memimg", "internal/"},
	"tracer":        {"plugins/client", "treestate", "taskstate", "fdstate", "netstate", "memstate", "ipcstate", "memimg", "plugins", "policy", "virtual", "internal/"},
	"restorer":      {"plugins/client", "treestate", "taskstate", "fdstate", "netstate", "memstate", "ipcstate", "memimg", "plugins", "policy", "virtual", "internal/"},
	"treestate":     {"plugins/client", "taskstate", "fdstate", "netstate", "memstate", "ipcstate", "virtual", "memimg", "internal/"},
	"taskstate":     {"memimg", "internal/"},
	"fdstate":       {"memimg", "policy", "internal/"},
	"netstate":      {"fdstate", "memimg", "policy", "internal/"},
	"memstate":      {"memimg", "internal/"},
	"ipcstate":      {"internal/"},
	"memimg":        {},
	"plugins":       {"plugins/client", "internal/translate", "internal/procfs"},
	"control":       {"plugins/client", "internal/procfs"},
	"policy":        {"internal/rulefile"},
	"virtual":       {"internal/"},
	"integration":   {"plugins/client"}, // as any program may

	"plugins/client": {}, // others copy it
	"plugins/python": {}, // tests of what is written in Python

	"internal/usage":     {},
	"internal/procfs":    {},
	"internal/nouring":   {},
	"internal/refuse":    {},
	"internal/rulefile":  {},
	"internal/translate": {},
	"internal/task":      {"internal/procfs"},
	"internal/features":  {"internal/procfs", "internal/task"},
}

// goPackage is what `go list` tells.
type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
}

// packages lists our packages.
func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if name == module || strings.Contains(name, "testdata") {
			continue
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s: there is no rule for this package; say in architecture_test.go what it may import", name)
		}
		for _, imported := range p.Imports {
			theirs, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.ContainsFunc(allowed, func(rule string) bool {
				return theirs == rule || strings.HasSuffix(rule, "/") && strings.HasPrefix(theirs, rule)
			}) {
				t.Errorf("%s must not import %s", name, theirs)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, p := range packages(t) {
		switch path.Base(p.ImportPath) {
		case "util", "utils", "common", "helper", "helpers", "manager", "misc", "base":
			t.Errorf("%s: name it after what it owns", p.ImportPath)
		}
	}
}

// goFile is a parsed source file.
type goFile struct {
	path string
	test bool
	set  *token.FileSet
	ast  *ast.File
}

// goFiles parses every Go file of the tree, those of tests and their programs
// included.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != "." && (base[0] == '.' || base == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		files = append(files, goFile{name, strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata"), set, parsed})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestUnsafeFence: unsafe code, linkname and code without a body live in files
// that say so by their name.
func TestUnsafeFence(t *testing.T) {
	for _, f := range goFiles(t) {
		if strings.HasSuffix(f.path, "_unsafe.go") || strings.HasSuffix(f.path, "_unsafe_test.go") || strings.Contains(f.path, "testdata") {
			continue
		}
		for _, imported := range f.ast.Imports {
			if imported.Path.Value == `"unsafe"` {
				t.Errorf("%s imports unsafe; name it *_unsafe.go", f.path)
			}
		}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					t.Errorf("%s has a linkname; name it *_unsafe.go", f.path)
				}
			}
		}
	}
}

// TestSizes: what does not fit on a few screens is not read.
func TestSizes(t *testing.T) {
	const maxFunction, maxFile = 80, 400
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		if lines := f.set.Position(f.ast.FileEnd).Line - 1; lines > maxFile {
			t.Errorf("%s has %d lines, more than %d", f.path, lines, maxFile)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1; lines > maxFunction {
				t.Errorf("%s: %s has %d lines, more than %d", f.path, fn.Name.Name, lines, maxFunction)
			}
		}
	}
}

// TestOnlyTaskTraces: nothing but internal/task makes ptrace calls.
func TestOnlyTaskTraces(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || strings.HasPrefix(f.path, "internal/task/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			name := sel.Sel.Name
			if strings.HasPrefix(name, "PTRACE_") || strings.HasPrefix(name, "Ptrace") || name == "SYS_PTRACE" {
				t.Errorf("%s: %s outside of internal/task", f.set.Position(n.Pos()), name)
			}
			return true
		})
	}
}
