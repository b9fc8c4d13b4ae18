package hydrant_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hydrantd/hydrant"
)

func TestOSKeepsFilesAndDirectoriesPrivate(t *testing.T) {
	var fsys hydrant.OS
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := errors.Join(fsys.MkdirAll(dir), fsys.MkdirAll(dir)); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Open(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for path, want := range map[string]fs.FileMode{filepath.Dir(dir): 0o700, dir: 0o700, filepath.Join(dir, "f"): 0o600} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, st.Mode().Perm(), want)
		}
	}
}

func TestAllocateGivesBlocksOfZeros(t *testing.T) {
	var fsys hydrant.OS
	name := filepath.Join(t.TempDir(), "f")
	f, err := fsys.Open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Allocate(1<<20), f.Allocate(4096), f.Sync(hydrant.PointBlock)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if _, err := f.ReadAt(buf, 0); err != nil || string(buf) != "kept\x00\x00\x00\x00" {
		t.Errorf("the file begins %q (%v)", buf, err)
	}
	if n, err := f.Size(); err != nil || n != 1<<20 {
		t.Errorf("Size = %d (%v), want %d: a smaller Allocate never shrinks", n, err, 1<<20)
	}
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if blocks := st.Sys().(*syscall.Stat_t).Blocks * 512; blocks < 1<<20 {
		t.Errorf("%d bytes lie on the disk, want %d", blocks, 1<<20)
	}
	if err := hydrant.SyncDir(fsys, filepath.Dir(name), hydrant.PointSegmentDir); err != nil {
		t.Error(err)
	}
}

func TestNoSpace(t *testing.T) {
	for err, want := range map[error]bool{
		&fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}: true,
		syscall.EDQUOT: true,
		syscall.EIO:    false,
		nil:            false,
	} {
		if got := hydrant.NoSpace(err); got != want {
			t.Errorf("NoSpace(%v) = %v", err, got)
		}
	}
}
