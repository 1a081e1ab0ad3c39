package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"supervise/memimg"
)

// PruneOptions say which images of a job to remove.
type PruneOptions struct {
	Dir       string // of jobs
	Job       string
	Retention Retention
	DryRun    bool                    // remove nothing
	Progress  func(done, total int64) // of reading the image that everything else is removed for; may be nil
}

// Verdict is what becomes of an image.
type Verdict struct {
	Image  *StoredImage
	Remove bool
	Why    string // it is kept
}

// Prune removes the images of a job that its retention does not keep, and what
// killed writers have left. The newest good image is read as a whole before
// others are removed: should it turn out to be damaged, it does not count.
func Prune(ctx context.Context, o PruneOptions) ([]Verdict, error) {
	lock, err := lockJobImages(ctx, o.Dir, o.Job)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	images, err := JobImages(o.Dir, o.Job)
	if err != nil {
		return nil, err
	}
	for {
		verdicts, err := judge(o.Dir, images, o.Retention)
		if err != nil || !removesAny(verdicts) {
			return verdicts, err
		}
		if newest := newestGood(images); !confirm(newest, o.Progress) {
			continue // with one good image less
		}
		if o.DryRun {
			return verdicts, nil
		}
		return verdicts, removeAll(verdicts)
	}
}

// lockJobImages takes the lock of a job that is there.
func lockJobImages(ctx context.Context, dir, job string) (*os.File, error) {
	if err := CheckName(job); err != nil {
		return nil, err
	}
	lock, err := lockThere(ctx, filepath.Join(dir, job))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoImageError{fmt.Sprintf("job %q has no images in %s", job, dir)}
	}
	return lock, err
}

// confirm reads the whole of an image, and marks it when it is not good.
func confirm(i *StoredImage, progress func(done, total int64)) bool {
	if i == nil {
		return true // judge removes nothing good
	}
	image, err := memimg.Open(i.Dir)
	if err == nil {
		total := i.Manifest.Summary.PageBytes
		err = image.Verify(func(done int64) {
			if progress != nil {
				progress(done, total)
			}
		})
		err = errors.Join(err, image.Close())
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, memimg.ErrDamaged):
		i.State = Damaged
	default:
		i.State = Unreadable
	}
	i.Err = err
	return false
}

// retain is Prune after a snapshot that was just taken, whose lock is held and
// whose image is known to be good.
func retain(dir, job string, r Retention) error {
	if r.None() {
		return nil
	}
	images, err := JobImages(dir, job)
	if err != nil {
		return err
	}
	verdicts, err := judge(dir, images, r)
	if err != nil {
		return err
	}
	return removeAll(verdicts)
}

// judge decides on every image of a job.
func judge(dir string, images []*StoredImage, r Retention) ([]Verdict, error) {
	kept := r.kept(images)
	var stay []*StoredImage
	for _, i := range images {
		if kept[i] != "" {
			stay = append(stay, i)
		}
	}
	needed, err := neededLayers(dir, images, stay)
	if err != nil {
		return nil, err
	}
	var verdicts []Verdict
	for _, i := range images {
		v := Verdict{Image: i, Why: kept[i]}
		if v.Why == "" {
			v.Why = needed.why(i)
		}
		v.Remove = v.Why == "" || i.State == Unfinished && isLeftover(i.Dir)
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

func removesAny(verdicts []Verdict) bool {
	for _, v := range verdicts {
		if v.Remove {
			return true
		}
	}
	return false
}

// removeAll removes what is to be removed, the newest first: an image goes
// before the layers it needs, and when it cannot go, they stay.
func removeAll(verdicts []Verdict) error {
	for _, v := range slices.Backward(verdicts) {
		if !v.Remove {
			continue
		}
		if err := removeImage(v.Image); err != nil {
			return err
		}
	}
	return nil
}

// removeImage removes an image, or what a killed writer has left.
func removeImage(i *StoredImage) error {
	err := memimg.Remove(i.Dir)
	if errors.Is(err, memimg.ErrUnfinished) {
		err = removeLeftover(i.Dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", i.Name(), err)
	}
	return nil
}

// RemoveImages removes images of a job by number, all of them or none.
func RemoveImages(ctx context.Context, dir, job string, numbers []int) error {
	lock, err := lockJobImages(ctx, dir, job)
	if err != nil {
		return err
	}
	defer lock.Close()
	images, err := JobImages(dir, job)
	if err != nil {
		return err
	}
	var doomed []Verdict
	var stay []*StoredImage
	for _, i := range images {
		if slices.Contains(numbers, i.Number) {
			doomed = append(doomed, Verdict{Image: i, Remove: true})
		} else {
			stay = append(stay, i)
		}
	}
	for _, n := range numbers {
		if !slices.ContainsFunc(doomed, func(v Verdict) bool { return v.Image.Number == n }) {
			return &NoImageError{fmt.Sprintf("%s: there is no such image in %s", ImageName(job, n), dir)}
		}
	}
	needed, err := neededLayers(dir, images, stay)
	if err != nil {
		return err
	}
	for _, v := range doomed {
		if why := needed.why(v.Image); why != "" {
			return fmt.Errorf("%s is %s: nothing is removed", v.Image.Name(), why)
		}
	}
	return removeAll(doomed)
}
