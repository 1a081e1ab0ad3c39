package main

import "supervise/memimg"

type verifyCmd struct {
	imageArg
}

func (c *verifyCmd) Help() string {
	return "Reads everything and compares it with the checksums. Prints one line when all is well."
}

func (c *verifyCmd) Run(out *output) error {
	found, err := c.find(out)
	if err != nil {
		return err
	}
	image, err := memimg.Open(found.Dir)
	if err != nil {
		return &imageError{found, err}
	}
	defer image.Close()
	total := image.Manifest().Summary.PageBytes
	bar := out.newProgress("verifying")
	defer bar.end()
	if err := image.Verify(func(done int64) { bar.update(done, total) }); err != nil {
		return &imageError{found, err}
	}
	bar.end()
	out.printf("%s: sound (%s of memory)\n", found.Dir, byteCount(total))
	return nil
}
