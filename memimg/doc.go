// Package memimg is the image on disk: how a snapshot lies in files, how it is
// written whole or not at all, and how it is read and verified. What the
// records in it mean, and what its spaces are, is the business of others.
//
// # The format, version 1
//
// An image is a directory, of mode 0700, with four files, of mode 0600.
// Directory and files belong to whoever made the snapshot.
//
//	0007/
//	├── manifest.json   what the image is; seals the others   JSON
//	├── records         opaque bytes of the caller
//	├── index           what lies where in pages              binary
//	└── pages           page data                             raw
//
//	manifest.json ──sha256──> records
//	     │ └───────sha256──> index ──xxh3 of each extent──> pages
//	     └─────────id──────> manifest.json of earlier images (layers)
//
// Every byte of the four files is under exactly one of these checksums. All
// numbers in binary files are little-endian and unsigned. A page has 4096
// bytes. What decodes is, encoded again, the same bytes: there is one way to
// write a thing. A reader refuses all else.
//
// # manifest.json
//
// One JSON object, at most 16 MiB, indented by two spaces, with these fields,
// all present and in this order unless said otherwise, and a newline at its end:
//
//	format    1. Counts changes of the format, and only those.
//	program   version of the program that wrote the image
//	id        names this image: the first 16 bytes, in hexadecimal, of the
//	          SHA-256 of the file without the seal and with an id of ""
//	created   time, RFC 3339, in UTC
//	host      name       of the machine
//	          kernel     its release
//	          arch       as Go spells it: amd64, arm64
//	          xfeatures  mask of the xstate features in use, "0x" and hexadecimal
//	summary   job         its name
//	          root_pid    pid of the tree's root
//	          command     array of strings. Bytes that are not UTF-8 have become
//	                      U+FFFD; the true arguments are in the records.
//	          processes, threads
//	          page_bytes  length of all extents in the index, layers included
//	          policy      file that snapshots of the job go by; left out if none
//	          interval_ns, keep  how often its supervisor takes a snapshot by itself,
//	                      and how many of them are kept; left out where 0
//	phases    array of {name, start_ns, duration_ns}: the time line of the
//	          snapshot, counted from its begin
//	layers    array of {dir, id}: earlier images whose pages files hold some of
//	          the extents. dir is relative to this image's directory, and clean;
//	          the first is layer 1.
//	control   missing, or {generation, socket, annotations, plugins}: how often the tree
//	          had been restarted; the control socket that its programs know;
//	          an object of strings; an array of {file} or {event, command}. All but
//	          the first may be missing.
//	parts     records  {size, sha256}: bytes of the file and their SHA-256
//	          index    {size, sha256}
//	          pages    {size}, a multiple of 4096
//	sum       the seal: the SHA-256 of all bytes before the line of this field,
//	          in hexadecimal
//
// The seal is the last but one line of the file, `  "sum": "…"`, in this and
// every later format. A reader checks it first; a format that it does not know
// is a newer one only if the seal is right, and damage otherwise.
//
// # records
//
// At most 1 GiB that mean nothing here.
//
// # index
//
//	0        8        12         16       24
//	┌────────┬────────┬──────────┬────────┬───────────┬───────────┬──
//	│ magic  │version │ reserved │ count  │ extent 0  │ extent 1  │ …
//	└────────┴────────┴──────────┴────────┴───────────┴───────────┴──
//
//	magic     8 bytes  "SVINDEX\n"
//	version   4 bytes  1
//	reserved  4 bytes  0
//	count     8 bytes  number of extents, at most 2^26; the file ends after them
//
//	                                 an extent
//	0       4       8              16      20         24             32          40
//	┌───────┬───────┬──────────────┬───────┬──────────┬──────────────┬───────────┐
//	│ space │ layer │     addr     │ pages │ reserved │    offset    │    sum    │
//	└───────┴───────┴──────────────┴───────┴──────────┴──────────────┴───────────┘
//
//	space     4 bytes  the numbered range of pages that it is part of: an address
//	                   space, a shared memory object, the content of a file...
//	                   The records say which.
//	layer     4 bytes  whose pages file has the data: 0 for this image's, n for
//	                   that of layer n in the manifest
//	addr      8 bytes  of the first page in the space; a multiple of 4096
//	pages     4 bytes  how many, 1 to 256
//	reserved  4 bytes  0
//	offset    8 bytes  of the first page in the pages file; a multiple of 4096
//	sum       8 bytes  XXH3, 64 bits, seed 0, of the data
//
// Extents are in order of space, then addr, and do not overlap in a space. A
// page of a space that is in no extent is zero, or was not there. The index is
// complete: a reader never looks into the index of a layer.
//
// # pages
//
// The data of the extents of layer 0, in any order, without gaps, each byte in
// exactly one. Zero pages are not stored. So the file, and all data in it, is
// aligned as direct I/O and mmap(2) ask for.
//
// # Making one
//
// An image exists as soon as, and as long as, its directory has a
// manifest.json. A Writer begins with an empty directory, which it locks with
// flock(2), and writes to manifest.json.tmp first; when this and all other
// files are on the disk, one rename(2) makes the image exist. So a crash at any
// instant leaves a whole image, or a directory that has manifest.json.tmp and
// no lock: a leftover, for RemoveLeftover.
package memimg
