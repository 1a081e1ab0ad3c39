package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"supervise/internal/task"
	"supervise/memimg"
	"supervise/plugins"
	"supervise/plugins/client"
	"supervise/policy"
	"supervise/tracer"
)

// CheckpointOptions say what to take a snapshot of, and where to.
type CheckpointOptions struct {
	Target   *Target
	Image    string         // a new or an empty directory; without it a numbered one is made in the job's
	Program  string         // our own version, for the manifest
	Stop     bool           // end the tree once the snapshot is committed
	Policy   *policy.Policy // without it, the one that the job was started with
	Rules    []policy.Rule  // that come before it
	Annotate map[string]string
	Plugins  []plugins.Spec // besides those of the job
	Hook     plugins.Hook
	Progress func(done, total int64)
}

// Checkpoint takes one snapshot and tells where it is. On error there is none,
// and no directory is left behind. It waits until no other snapshot of the job
// is being taken; the error is ErrBusy when ctx is done before.
func Checkpoint(ctx context.Context, o CheckpointOptions) (image string, result *tracer.Result, err error) {
	held, err := o.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer held.close()
	image, result, err = checkpoint(ctx, o)
	if err != nil && o.Image == "" {
		_ = os.Remove(o.Target.Dir) // fails when there is something in it
	}
	return image, result, err
}

// lock takes the lock of the tree, which who else takes a snapshot of it takes,
// under whatever name, and that of the directory for the image, if it is one of
// a job.
func (o *CheckpointOptions) lock(ctx context.Context) (locks, error) {
	var held locks
	lock, err := lockTree(ctx, o.Target.Root())
	if err != nil {
		return nil, err
	}
	if lock != nil {
		held = append(held, lock)
	}
	if o.Image != "" {
		return held, nil
	}
	if lock, err = lockJob(ctx, o.Target.Dir); err != nil {
		held.close()
		return nil, err
	}
	return append(held, lock), nil
}

// checkpoint is Checkpoint with the locks held. An orphan of the tree may end
// while it is looked for; then the tree is looked at anew.
func checkpoint(ctx context.Context, o CheckpointOptions) (image string, result *tracer.Result, err error) {
	const most = 5
	for range most {
		image, result, err = checkpointOnce(ctx, &o)
		if !errors.Is(err, task.ErrGone) || !o.Target.Root().Alive() {
			break
		}
	}
	return image, result, err
}

func checkpointOnce(ctx context.Context, o *CheckpointOptions) (image string, result *tracer.Result, err error) {
	// Meanwhile the tree may have got orphans.
	target, err := o.Target.again()
	if err != nil {
		return "", nil, err
	}
	rules, err := o.rules()
	if err != nil {
		return "", nil, err
	}
	image = o.Image
	if image == "" {
		if image, err = newImageDir(target.Dir); err != nil {
			return "", nil, err
		}
	}
	result, err = attended(ctx, o, target, image, rules)
	if err != nil && o.Image == "" {
		_ = os.Remove(image) // the tracer has removed what it has written
	}
	return image, result, err
}

// attended takes the snapshot with those who have a part in it.
func attended(ctx context.Context, o *CheckpointOptions, target *Target, image string, rules *policy.Policy) (*tracer.Result, error) {
	part, err := attend(ctx, o, target, image)
	if err != nil {
		return nil, err
	}
	result, err := tracer.Checkpoint(tracer.Options{
		Roots:     target.Roots,
		Image:     image,
		Name:      target.Name,
		Program:   o.Program,
		Stop:      o.Stop,
		Policy:    rules,
		JobPolicy: target.Policy,
		Interval:  target.Schedule.Interval,
		Keep:      target.Schedule.Keep,
		NoIoUring: target.NoIoUring,
		Virtual:   target.Virtual,
		Hook:      part.hook(o.Hook),
		Progress:  o.Progress,
		Ends:      part.connections,
		Loosen:    part.loosen,
		Excluded:  part.excluded,
		Undumped:  func() bool { return part.runner.Changes.Undumped },
		Found:     func(o *client.Objects) { part.found = o },
		Blobs:     part.runner.Blobs,
		Manifest:  func() *memimg.Control { return part.manifest(o.Annotate) },
	})
	_ = part.end(err) // it is, or is not, a snapshot by now
	if result != nil {
		result.Problems = part.runner.Problems
	}
	return result, err
}

// newImageDir makes the next numbered directory for a job's image. What killed
// writers have left there is removed.
func newImageDir(jobDir string) (string, error) {
	last, err := lastImage(jobDir)
	if err != nil {
		return "", err
	}
	for n := last + 1; ; n++ {
		dir := filepath.Join(jobDir, numberName(n))
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
		n := imageNumber(e.Name())
		if n == 0 || !e.IsDir() {
			continue
		}
		if dir := filepath.Join(jobDir, e.Name()); removeLeftover(dir) != nil {
			last = max(last, n)
		}
	}
	return last, nil
}

// isLeftover reports whether a killed writer or remover has left the directory
// of an image. An empty one is left by either: whoever makes one holds the lock
// of the job, which the caller does.
func isLeftover(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0 || memimg.Leftover(dir)
}

// removeLeftover removes it, and no other. The job's lock is held.
func removeLeftover(dir string) error {
	if os.Remove(dir) == nil { // it was empty
		return nil
	}
	return memimg.RemoveLeftover(dir)
}
