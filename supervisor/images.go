package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"supervise/memimg"
)

// ImageState tells what a directory with an image's number is.
type ImageState string

// What is good has a manifest, records and an index that agree with their
// checksums, and all its pages and layers are there. Whether the pages' bytes
// are right is known once they are read.
const (
	Good       ImageState = "good"
	Damaged    ImageState = "damaged"
	Newer      ImageState = "newer format"
	Unreadable ImageState = "unreadable" // not by this user, or not now: nothing is known
	Unfinished ImageState = "unfinished" // being written, or left by a killed writer
)

// StoredImage is one image in the directory of a job.
type StoredImage struct {
	Job      string
	Number   int
	Dir      string
	State    ImageState
	Err      error           // why it is not good
	Manifest memimg.Manifest // of any but a damaged one; may be zero
}

// Name is how a user names the image: job@0007.
func (i *StoredImage) Name() string { return ImageName(i.Job, i.Number) }

// ImageName names an image: job@0007.
func ImageName(job string, number int) string { return job + "@" + numberName(number) }

// numberName is the name of the directory of the image of this number.
func numberName(n int) string { return fmt.Sprintf("%04d", n) }

// imageNumber reads the name of an image's directory, or gives 0.
func imageNumber(name string) int {
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 || numberName(n) != name {
		return 0
	}
	return n
}

// JobImages lists the images of a job, the oldest first. The error is
// fs.ErrNotExist when the job has no directory.
func JobImages(dir, job string) ([]*StoredImage, error) {
	if err := CheckName(job); err != nil {
		return nil, err
	}
	jobDir := filepath.Join(dir, job)
	entries, err := os.ReadDir(jobDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoImageError{fmt.Sprintf("job %q has no images in %s", job, dir)}
	}
	if err != nil {
		return nil, err
	}
	var images []*StoredImage
	for _, e := range entries {
		n := imageNumber(e.Name())
		if n == 0 || !e.IsDir() {
			continue
		}
		if i := lookAt(job, n, filepath.Join(jobDir, e.Name())); i != nil {
			images = append(images, i)
		}
	}
	slices.SortFunc(images, func(a, b *StoredImage) int { return a.Number - b.Number })
	return images, nil
}

// lookAt finds out what an image's directory holds, or gives nil when it is gone.
// Another may be removing it: what is no image any more is not damaged.
func lookAt(job string, n int, dir string) *StoredImage {
	i := &StoredImage{Job: job, Number: n, Dir: dir}
	i.Manifest, i.Err = memimg.ReadManifest(dir)
	if i.Err == nil {
		var image *memimg.Image
		if image, i.Err = memimg.Open(dir); i.Err == nil {
			i.Err = image.Close()
		}
	}
	if i.State = stateOf(i.Err); i.State == Damaged && !memimg.IsSnapshot(dir) {
		i.State = Unfinished
	}
	if _, err := os.Lstat(dir); i.State == Unfinished && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return i
}

// stateOf tells the state of an image by the error of reading it.
func stateOf(err error) ImageState {
	switch {
	case err == nil:
		return Good
	case errors.Is(err, memimg.ErrUnfinished):
		return Unfinished
	case errors.Is(err, memimg.ErrNewerFormat):
		return Newer
	case errors.Is(err, memimg.ErrDamaged), errors.Is(err, fs.ErrNotExist):
		return Damaged
	}
	return Unreadable
}

// JobNames lists the names that have a directory in the directory of jobs.
func JobNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// newestGood gives the last good image, or nil.
func newestGood(images []*StoredImage) *StoredImage {
	for _, i := range slices.Backward(images) {
		if i.State == Good {
			return i
		}
	}
	return nil
}

// NoImageError says that a job has no images, or none of a name. It is also
// fs.ErrNotExist.
type NoImageError struct{ msg string }

func (e *NoImageError) Error() string        { return e.msg }
func (e *NoImageError) Is(target error) bool { return target == fs.ErrNotExist }

// FoundImage is the image that a user has named.
type FoundImage struct {
	Dir     string
	Name    string         // job@0007, or empty for a directory
	Skipped []*StoredImage // newer ones of the job, which are not good; the newest first
	Older   string         // the good image before it, or empty
}

// FindImage finds the image that NAME, NAME@NNNN or a directory means. A job's
// name means its newest good image. What has a slash, or is the directory of a
// snapshot, is a directory. dir is the directory of jobs.
func FindImage(dir, what string) (*FoundImage, error) {
	job, number, numbered := strings.Cut(what, "@")
	if strings.Contains(what, "/") || memimg.IsSnapshot(what) || CheckName(job) != nil {
		abs, err := filepath.Abs(what)
		return &FoundImage{Dir: abs}, err
	}
	images, err := JobImages(dir, job)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(what); err == nil {
			abs, err := filepath.Abs(what)
			return &FoundImage{Dir: abs}, err
		}
		return nil, &NoImageError{fmt.Sprintf("%s: no such image: neither a directory nor a job in %s", what, dir)}
	}
	if err != nil {
		return nil, err
	}
	if !numbered {
		return findNewest(dir, job, images)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return nil, &NameError{what, "expected NAME@NUMBER"}
	}
	for k, i := range images {
		if i.Number == n {
			return found(images, k), nil
		}
	}
	return nil, &NoImageError{fmt.Sprintf("%s: job %s has no such image in %s", what, job, dir)}
}

// findNewest finds the newest good image. Those that are being written do not
// count, and those that are not good are told.
func findNewest(dir, job string, images []*StoredImage) (*FoundImage, error) {
	var skipped []*StoredImage
	for k, i := range slices.Backward(images) {
		switch i.State {
		case Good:
			f := found(images, k)
			f.Skipped = skipped
			return f, nil
		case Unfinished:
		default:
			skipped = append(skipped, i)
		}
	}
	if len(skipped) > 0 {
		return nil, fmt.Errorf("job %s has no good image: %s is %s: %w", job, skipped[0].Name(), skipped[0].State, skipped[0].Err)
	}
	return nil, &NoImageError{fmt.Sprintf("job %s has no image in %s", job, dir)}
}

// found describes images[k].
func found(images []*StoredImage, k int) *FoundImage {
	f := &FoundImage{Dir: images[k].Dir, Name: images[k].Name()}
	if older := newestGood(images[:k]); older != nil {
		f.Older = older.Name()
	}
	return f
}
