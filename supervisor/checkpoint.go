package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"supervise/memimg"
	"supervise/plugins"
	"supervise/tracer"
)

// CheckpointOptions say what to take a snapshot of, and where to.
type CheckpointOptions struct {
	Target   *Target
	Image    string // a new or an empty directory; without it a numbered one is made in the job's
	Program  string // our own version, for the manifest
	Stop     bool   // end the tree once the snapshot is committed
	Hook     plugins.Hook
	Progress func(done, total int64)
}

// Checkpoint takes one snapshot and tells where it is. On error there is none,
// and no directory is left behind.
func Checkpoint(o CheckpointOptions) (image string, result *tracer.Result, err error) {
	image = o.Image
	if image == "" {
		if image, err = newImageDir(o.Target.Dir); err != nil {
			return "", nil, err
		}
	}
	result, err = tracer.Checkpoint(tracer.Options{
		Roots:    o.Target.Roots,
		Image:    image,
		Name:     o.Target.Name,
		Program:  o.Program,
		Stop:     o.Stop,
		Hook:     o.Hook,
		Progress: o.Progress,
	})
	if err != nil && o.Image == "" {
		// Both fail when there is something in it; nothing is lost.
		_ = os.Remove(image)
		_ = os.Remove(o.Target.Dir)
	}
	return image, result, err
}

// newImageDir makes the next numbered directory for a job's image. What killed
// writers have left there is removed.
func newImageDir(jobDir string) (string, error) {
	if err := makeDir(filepath.Dir(jobDir)); err != nil {
		return "", err
	}
	if err := os.Mkdir(jobDir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	last, err := lastImage(jobDir)
	if err != nil {
		return "", err
	}
	for n := last + 1; ; n++ {
		dir := filepath.Join(jobDir, fmt.Sprintf("%04d", n))
		err := os.Mkdir(dir, dirPerm)
		if !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
}

// lastImage gives the highest number that is taken, once leftovers are gone.
func lastImage(jobDir string) (int, error) {
	entries, err := os.ReadDir(jobDir)
	if err != nil {
		return 0, err
	}
	last := 0
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n < 1 || !e.IsDir() {
			continue
		}
		if dir := filepath.Join(jobDir, e.Name()); !removeLeftover(dir) {
			last = max(last, n)
		}
	}
	return last, nil
}

// removeLeftover removes the directory of an image whose writer was killed. A
// writer may be between making its directory and marking it, so an empty one
// must be old.
func removeLeftover(dir string) bool {
	if memimg.Leftover(dir) {
		return memimg.RemoveLeftover(dir) == nil
	}
	const old = 10 * time.Minute
	info, err := os.Lstat(dir)
	return err == nil && time.Since(info.ModTime()) > old && os.Remove(dir) == nil
}
