package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hydrantd/hydrant"
)

// A shadow does what the disk does, whatever is done to it, and the disk below it stays as it is.
func TestShadowIsAsTheDisk(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		real, below := t.TempDir(), t.TempDir()
		for i := range 3 {
			text := bytes.Repeat([]byte{byte('a' + i)}, rnd.IntN(3*shadowPage))
			for _, dir := range []string{real, below} {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := contents(t, hydrant.OS{}, below)
		over := newShadow(hydrant.OS{})
		for step := range 40 {
			do := operation(rnd)
			want, got := do(hydrant.OS{}, real), do(over, below)
			if want != got {
				t.Fatalf("seed %d, step %d: the shadow says %q, the disk %q", seed, step, got, want)
			}
		}
		if want, got := contents(t, hydrant.OS{}, real), contents(t, over, below); want != got {
			t.Fatalf("seed %d: the shadow holds\n%.500s\nthe disk\n%.500s", seed, got, want)
		}
		if after := contents(t, hydrant.OS{}, below); after != before {
			t.Fatalf("seed %d: the disk below was changed", seed)
		}
	}
}

// operation draws something to do in a directory; what it returns is how it went.
func operation(rnd *rand.Rand) func(hydrant.FS, string) string {
	name, other := fmt.Sprint(rnd.IntN(5)), fmt.Sprint(rnd.IntN(5))
	off, size := int64(rnd.IntN(3*shadowPage)), int64(rnd.IntN(2*shadowPage))
	data := bytes.Repeat([]byte{byte('A' + rnd.IntN(20))}, int(size))
	flag := []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_RDWR | os.O_CREATE | os.O_EXCL, os.O_RDWR | os.O_CREATE | os.O_TRUNC}[rnd.IntN(5)]
	kind := rnd.IntN(7)
	return func(fsys hydrant.FS, dir string) string {
		path := filepath.Join(dir, name)
		switch kind {
		case 0:
			return class(fsys.Remove(path))
		case 1:
			return class(fsys.Rename(path, filepath.Join(dir, other)))
		}
		f, err := fsys.Open(path, flag)
		if err != nil {
			return class(err)
		}
		defer f.Close()
		switch {
		case kind == 2 && flag != os.O_RDONLY:
			_, err = f.WriteAt(data, off)
		case kind == 3 && flag != os.O_RDONLY:
			err = f.Truncate(off)
		case kind == 4 && flag != os.O_RDONLY:
			err = f.Allocate(off + 1)
		case kind == 5:
			err = f.Sync(hydrant.PointBlock)
		default:
			buf := make([]byte, size)
			n, err := f.ReadAt(buf, off)
			return fmt.Sprintf("%d %s %x", n, class(err), buf[:n])
		}
		return class(err)
	}
}

func class(err error) string {
	for _, known := range []error{nil, io.EOF, fs.ErrNotExist, fs.ErrExist} {
		if errors.Is(err, known) {
			return fmt.Sprint(known)
		}
	}
	return err.Error()
}

// contents is all that is in a directory.
func contents(t *testing.T, fsys hydrant.FS, dir string) string {
	t.Helper()
	list, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		f, err := fsys.Open(filepath.Join(dir, e.Name()), os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, size)
		if n, err := f.ReadAt(text, 0); n != len(text) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%s: %d of %d bytes, %v", e.Name(), n, size, err)
		}
		_ = f.Close()
		info, err := e.Info()
		if err != nil || info.Size() != size {
			t.Fatalf("%s: its size is %d, its entry says %v, %v", e.Name(), size, info, err)
		}
		all = append(all, e.Name()+": "+string(text))
	}
	slices.Sort(all)
	return fmt.Sprintf("%q", all)
}
