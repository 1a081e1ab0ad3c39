package main

type demoCmd struct{}

func (demoCmd) Run(out *output) error { return nil }

type demoCounterCmd struct{}

func (demoCounterCmd) Run(out *output) error { return nil }
