package memimg

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged is what every *FormatError is, by errors.Is: the image, or a
	// layer of it, does not hold what it held when it was committed.
	ErrDamaged = errors.New("image damaged")

	// ErrNewerFormat is what every *VersionError is, by errors.Is.
	ErrNewerFormat = errors.New("image format is newer than this program")

	// ErrUnfinished says that a directory has no manifest: a snapshot that was
	// never committed, or no image at all. Such an error is also
	// fs.ErrNotExist.
	ErrUnfinished = errors.New("not a finished snapshot")

	// ErrInUse says that another writer is making an image in the directory.
	ErrInUse = errors.New("in use by another writer")

	// ErrNotEmpty says that the directory for a new image holds something.
	ErrNotEmpty = errors.New("directory is not empty")
)

// A FormatError names a place in an image that breaks the format: malformed,
// damaged, cut short, or too long.
type FormatError struct {
	File   string // path of the file
	Offset int64  // of the first byte concerned, or -1 where no byte is to blame
	Field  string // the field, record or extent there; "" for the file as a whole
	Msg    string // what is wrong
	Err    error  // the cause, where there is one below
}

// Error tells file, field, what is wrong, and the offset in hexadecimal.
func (e *FormatError) Error() string {
	s := e.File
	if e.Field != "" {
		s += ": " + e.Field
	}
	s += ": " + e.Msg
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at offset %#x", e.Offset)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause below, or nil.
func (e *FormatError) Unwrap() error { return e.Err }

// Is makes every FormatError an ErrDamaged.
func (e *FormatError) Is(target error) bool { return target == ErrDamaged }

// A VersionError refuses an image whose manifest is sound but of a format that
// this program does not know yet.
type VersionError struct {
	File      string // path of the manifest
	Version   int    // the image's format
	Supported int    // the newest format this program reads
}

// Error tells both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: image format %d is newer than this program, which reads up to format %d",
		e.File, e.Version, e.Supported)
}

// Is makes every VersionError an ErrNewerFormat.
func (e *VersionError) Is(target error) bool { return target == ErrNewerFormat }
