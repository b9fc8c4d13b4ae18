package main

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
)

// shadow is a file system that reads from the one below it and keeps in memory what is written. A log opened on it
// recovers as it would, and nothing on disk changes: that is how status looks at a data_dir without a daemon.
type shadow struct {
	below hydrant.FS
	mu    sync.Mutex
	files map[string]*shadowFile // nil: removed
	dirs  map[string]bool        // made here
}

func newShadow(below hydrant.FS) *shadow {
	return &shadow{below: below, files: map[string]*shadowFile{}, dirs: map[string]bool{}}
}

// Open implements hydrant.FS.
func (s *shadow) Open(name string, flag int) (hydrant.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dirs[name] {
		return &shadowFile{}, nil // only to be synced
	}
	f, ours := s.files[name]
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if !ours && !writes {
		return s.below.Open(name, flag)
	}
	if !ours {
		var err error
		if f, err = s.copyOf(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	switch {
	case f == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case f != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case f == nil || flag&os.O_TRUNC != 0:
		f = &shadowFile{}
	}
	s.files[name] = f
	return f, nil
}

// copyOf is the file below as one that can be written to. It reads from there until it is dropped.
func (s *shadow) copyOf(name string) (*shadowFile, error) {
	base, err := s.below.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	size, err := base.Size()
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	return &shadowFile{base: base, baseSize: size, size: size}, nil
}

// Rename implements hydrant.FS.
func (s *shadow) Rename(from, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ours := s.files[from]
	if !ours {
		var err error
		if f, err = s.copyOf(from); err != nil {
			return err
		}
	}
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	s.files[from] = nil
	s.files[to] = f
	return nil
}

// Remove implements hydrant.FS.
func (s *shadow) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ours := s.files[name]
	if ours && f == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if !ours && !s.dirs[name] {
		below, err := s.below.Open(name, os.O_RDONLY)
		if err != nil {
			return err
		}
		_ = below.Close() // it was only looked for
	}
	s.files[name] = nil
	delete(s.dirs, name)
	return nil
}

// MkdirAll implements hydrant.FS.
func (s *shadow) MkdirAll(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.below.ReadDir(name)
	if _, removed := s.files[name]; !removed && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(s.files, name)
	s.dirs[name] = true
	return nil
}

// ReadDir implements hydrant.FS.
func (s *shadow) ReadDir(name string) ([]fs.DirEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.below.ReadDir(name)
	if err != nil && !s.dirs[name] {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e fs.DirEntry) bool { _, ours := s.files[filepath.Join(name, e.Name())]; return ours })
	for path, f := range maps.All(s.files) {
		if f != nil && filepath.Dir(path) == name {
			list = append(list, fs.FileInfoToDirEntry(shadowInfo{filepath.Base(path), f}))
		}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, nil
}

// shadowInfo describes a file that is in memory.
type shadowInfo struct {
	name string
	file *shadowFile
}

func (i shadowInfo) Name() string     { return i.name }
func (shadowInfo) Mode() fs.FileMode  { return 0o600 }
func (shadowInfo) ModTime() time.Time { return time.Time{} }
func (shadowInfo) IsDir() bool        { return false }
func (shadowInfo) Sys() any           { return nil }
func (i shadowInfo) Size() int64      { n, _ := i.file.Size(); return n }

const shadowPage = 4096

// shadowFile is a file whose pages are in memory where they were written, below where not, and zero elsewhere.
type shadowFile struct {
	mu       sync.Mutex
	base     hydrant.File // nil: none
	baseSize int64        // how much of it counts
	size     int64
	pages    map[int64][]byte
}

// page returns the page with number n, to be written to.
func (f *shadowFile) page(n int64) ([]byte, error) {
	if p := f.pages[n]; p != nil {
		return p, nil
	}
	p := make([]byte, shadowPage)
	if err := f.readBase(p, n*shadowPage); err != nil {
		return nil, err
	}
	if f.pages == nil {
		f.pages = map[int64][]byte{}
	}
	f.pages[n] = p
	return p, nil
}

// readBase fills p with what the file below has at off; the rest stays zero.
func (f *shadowFile) readBase(p []byte, off int64) error {
	if off >= f.baseSize {
		return nil
	}
	_, err := f.base.ReadAt(p[:min(int64(len(p)), f.baseSize-off)], off)
	return err
}

// ReadAt implements io.ReaderAt.
func (f *shadowFile) ReadAt(b []byte, off int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n < len(b) && off < f.size {
		part := b[n:min(int64(len(b)), int64(n)+min(f.size-off, shadowPage-off%shadowPage))]
		if p := f.pages[off/shadowPage]; p != nil {
			copy(part, p[off%shadowPage:])
		} else {
			clear(part)
			if err := f.readBase(part, off); err != nil {
				return n, err
			}
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *shadowFile) WriteAt(b []byte, off int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n < len(b) {
		p, err := f.page(off / shadowPage)
		if err != nil {
			return n, err
		}
		k := copy(p[off%shadowPage:], b[n:])
		n, off = n+k, off+int64(k)
	}
	f.size = max(f.size, off)
	return n, nil
}

// Close implements io.Closer. The file may be opened again, so that nothing is given up.
func (f *shadowFile) Close() error { return nil }

// Sync implements hydrant.Blocks.
func (f *shadowFile) Sync(hydrant.Point) error { return nil }

// Allocate implements hydrant.Blocks.
func (f *shadowFile) Allocate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = max(f.size, size)
	return nil
}

// Truncate implements hydrant.Blocks.
func (f *shadowFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, p := range f.pages {
		if n*shadowPage >= size {
			delete(f.pages, n)
		} else if cut := size - n*shadowPage; cut < shadowPage {
			clear(p[cut:])
		}
	}
	f.size, f.baseSize = size, min(f.baseSize, size)
	return nil
}

// Size implements hydrant.Blocks.
func (f *shadowFile) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, nil
}
