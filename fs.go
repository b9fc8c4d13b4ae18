package hydrant

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the few file calls that the log, the journal, the spool and the file destination use.
// The simulation implements it with a disk that loses, tears and fails.
type FS interface {
	Open(name string, flag int) (File, error) // flag as os.OpenFile; files are made 0600; a directory opens read-only, to be synced
	Rename(old, new string) error             // replaces new
	Remove(name string) error                 // a file or an empty directory
	MkdirAll(name string) error               // 0700
	ReadDir(name string) ([]fs.DirEntry, error)
}

// File is an open file. Reads and writes name their offset; there is no position.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Blocks
}

// Blocks is the part of a file that is about the disk below it.
type Blocks interface {
	// Sync makes what was written durable: fdatasync for a file, fsync for a directory. An error is final: what was
	// dirty is in an unknown state and a second Sync proves nothing. p names why it is called.
	Sync(p Point) error
	// Allocate gives the file blocks for its first size bytes and makes it at least that long; new bytes read as zero.
	Allocate(size int64) error
	// Truncate sets the length; blocks behind it are freed.
	Truncate(size int64) error
	// Size is the length in bytes.
	Size() (int64, error)
}

// SyncDir makes the entries of a directory durable.
func SyncDir(fsys FS, dir string, p Point) error {
	d, err := fsys.Open(dir, os.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(p), d.Close())
}

// NoSpace tells whether err says that the disk, the quota or the file size limit is exhausted.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// OS is the machine's file system.
type OS struct{}

// Open implements FS.
func (OS) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (OS) Rename(old, new string) error { return os.Rename(old, new) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// MkdirAll implements FS. A directory that had to be made is durable in its parent when it returns.
func (o OS) MkdirAll(name string) error {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(o, parent, PointMkdir)
}

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
