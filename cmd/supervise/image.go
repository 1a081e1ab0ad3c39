package main

import (
	"fmt"

	"supervise/memimg"
	"supervise/supervisor"
)

// imageArg is how a command takes an image.
type imageArg struct {
	Image string `arg:"" help:"NAME or NAME@NNNN of a job's snapshot, or the directory of any. NAME alone means the newest good one."`
	Dir   string `help:"Directory of jobs. Default: $$SUPERVISE_DIR, else this user's state directory." placeholder:"D"`
}

// open finds the image and opens it.
func (a *imageArg) open(out *output) (*supervisor.FoundImage, *memimg.Image, error) {
	found, err := a.find(out)
	if err != nil {
		return nil, nil, err
	}
	image, err := memimg.Open(found.Dir)
	if err != nil {
		return nil, nil, &imageError{found, err}
	}
	return found, image, nil
}

// find finds the image. It says so when newer ones are passed over.
func (a *imageArg) find(out *output) (*supervisor.FoundImage, error) {
	dir, err := supervisor.JobsDir(a.Dir)
	if err != nil {
		return nil, err
	}
	f, err := supervisor.FindImage(dir, a.Image)
	if err != nil {
		return nil, err
	}
	for _, i := range f.Skipped {
		out.log.Warn().Err(i.Err).Str("image", i.Name()).
			Msg(fmt.Sprintf("%s is %s; the newest good one is %s", i.Name(), i.State, f.Name))
	}
	return f, nil
}
