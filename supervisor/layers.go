package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"supervise/memimg"
)

// layerUse tells which images others need, since these have pages in them.
type layerUse struct {
	by      map[string]string // directory of a layer: name of an image that needs it
	unknown string            // an image of which it cannot be told, or empty
}

// why tells why an image cannot go, or nothing.
func (u *layerUse) why(i *StoredImage) string {
	switch {
	case u.by[i.Dir] != "":
		return "needed by " + u.by[i.Dir]
	case u.unknown != "":
		return "perhaps needed by " + u.unknown + ", which cannot be read"
	}
	return ""
}

// note adds what an image needs. The manifest of a damaged one says nothing, but
// then it cannot come back either.
func (u *layerUse) note(i *StoredImage) {
	if i.Manifest.ID == "" && (i.State == Newer || i.State == Unreadable) {
		u.unknown = i.Name()
	}
	for _, l := range i.Manifest.Layers {
		u.by[filepath.Join(i.Dir, l.Dir)] = i.Name()
	}
}

// neededLayers finds out what those images of a job that stay need, and the
// images of other jobs: one job may have begun with the image of another.
func neededLayers(dir string, images, stay []*StoredImage) (*layerUse, error) {
	u := &layerUse{by: make(map[string]string)}
	own := ""
	if len(images) > 0 {
		own = images[0].Job
	}
	for _, i := range stay {
		u.note(i)
	}
	names, err := JobNames(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name == own {
			continue
		}
		if err := u.noteJob(dir, name); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// noteJob notes what the images of another job need. Only their manifests are
// read.
func (u *layerUse) noteJob(dir, job string) error {
	entries, err := os.ReadDir(filepath.Join(dir, job))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // gone meanwhile, or another user's
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		i := &StoredImage{Job: job, Number: imageNumber(e.Name()), Dir: filepath.Join(dir, job, e.Name())}
		if i.Number == 0 {
			continue
		}
		i.Manifest, i.Err = memimg.ReadManifest(i.Dir)
		i.State = stateOf(i.Err)
		u.note(i)
	}
	return nil
}
