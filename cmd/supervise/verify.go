package main

import "time"

type verifyCmd struct {
	imageArg
	JSON bool `name:"json" help:"Print facts about a sound image as JSON."`
}

// soundFacts is what verify --json prints.
type soundFacts struct {
	Image     string    `json:"image"`
	ID        string    `json:"id"`
	Created   time.Time `json:"created"`
	PageBytes int64     `json:"page_bytes"`
}

func (c *verifyCmd) Help() string {
	return "Reads everything and compares it with the checksums. Prints one line when all is well."
}

func (c *verifyCmd) Run(out *output) error {
	found, image, err := c.open(out)
	if err != nil {
		return err
	}
	defer image.Close()
	total := image.Manifest().Summary.PageBytes
	bar := out.newProgress("verifying")
	defer bar.end()
	if err := image.Verify(func(done int64) { bar.update(done, total) }); err != nil {
		return &imageError{found, err}
	}
	bar.end()
	if c.JSON {
		m := image.Manifest()
		return out.json(soundFacts{Image: found.Dir, ID: m.ID, Created: m.Created, PageBytes: total})
	}
	out.printf("%s: sound (%s of memory)\n", found.Dir, byteCount(total))
	return nil
}
