package main

import "supervise/memimg"

type verifyCmd struct {
	Image string `arg:"" help:"Directory of the snapshot." type:"path"`
}

func (c *verifyCmd) Help() string {
	return "Reads everything and compares it with the checksums. Prints one line when all is well."
}

func (c *verifyCmd) Run(out *output) error {
	image, err := memimg.Open(c.Image)
	if err != nil {
		return &imageError{c.Image, err}
	}
	defer image.Close()
	total := image.Manifest().Summary.PageBytes
	bar := out.newProgress("verifying")
	defer bar.end()
	if err := image.Verify(func(done int64) { bar.update(done, total) }); err != nil {
		return &imageError{c.Image, err}
	}
	bar.end()
	out.printf("%s: sound (%s of memory)\n", c.Image, byteCount(total))
	return nil
}
