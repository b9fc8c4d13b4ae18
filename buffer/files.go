package buffer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hydrantd/hydrant"
)

// files keeps the segments that were read lately open, with what was learned of them: a sparse index and the sums at their
// beginning. It is bounded; a segment with no entry costs only its struct.
type files struct {
	fsys hydrant.FS
	dir  string

	mu   sync.Mutex
	keep int
	open []*file // least recently used first
}

// file is an open segment.
type file struct {
	hydrant.File
	seg  *segment
	refs int // guarded by files.mu

	mu    sync.Mutex
	marks []mark  // where blocks are, by position; every one after the first is at least markEvery behind the one before
	sums  *Totals // appended before the segment; nil until somebody asked
}

// mark is a block: the first position in it, its offset, and the bytes of data in the segment before it.
type mark struct {
	pos   hydrant.Position
	at    int64
	bytes int64
}

// markEvery is how far marks are apart, in bytes of the file.
const markEvery = 128 << 10

// get returns the segment, opened. The caller puts it back.
func (fs *files) get(s *segment) (*file, error) {
	if f := fs.use(s, nil); f != nil {
		return f, nil
	}
	opened, err := fs.fsys.Open(filepath.Join(fs.dir, s.name()), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	mine := &file{File: opened, seg: s, marks: []mark{{s.base, fileHeaderLen, 0}}}
	f := fs.use(s, mine)
	if f != mine {
		return f, opened.Close()
	}
	return f, fs.trim()
}

// use lends the entry of s; when there is none it becomes f, if that is not nil.
func (fs *files) use(s *segment, f *file) *file {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	i := slices.IndexFunc(fs.open, func(o *file) bool { return o.seg == s })
	switch {
	case i >= 0:
		f = fs.open[i]
		fs.open = append(slices.Delete(fs.open, i, i+1), f)
	case f != nil:
		fs.open = append(fs.open, f)
	default:
		return nil
	}
	f.refs++
	return f
}

// put gives f back.
func (fs *files) put(f *file) error {
	fs.mu.Lock()
	f.refs--
	fs.mu.Unlock()
	return fs.trim()
}

// trim closes what is too much and not in use.
func (fs *files) trim() error {
	var err error
	for {
		fs.mu.Lock()
		i := -1
		if len(fs.open) > fs.keep {
			i = slices.IndexFunc(fs.open, func(o *file) bool { return o.refs == 0 })
		}
		if i < 0 {
			fs.mu.Unlock()
			return err
		}
		f := fs.open[i]
		fs.open = slices.Delete(fs.open, i, i+1)
		fs.mu.Unlock()
		err = errors.Join(err, f.Close())
	}
}

// forget closes a segment that was removed, when nobody reads it any more.
func (fs *files) forget(s *segment) error {
	fs.mu.Lock()
	i := slices.IndexFunc(fs.open, func(o *file) bool { return o.seg == s && o.refs == 0 })
	if i < 0 {
		fs.mu.Unlock()
		return nil
	}
	f := fs.open[i]
	fs.open = slices.Delete(fs.open, i, i+1)
	fs.mu.Unlock()
	return f.Close()
}

// close keeps nothing open from now on; who still reads opens for the moment.
func (fs *files) close() error {
	fs.mu.Lock()
	fs.keep = 0
	fs.mu.Unlock()
	return fs.trim()
}

// near returns the last mark at or before pos.
func (f *file) near(pos hydrant.Position) mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, found := slices.BinarySearchFunc(f.marks, pos, func(m mark, p hydrant.Position) int {
		switch {
		case m.pos < p:
			return -1
		case m.pos > p:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	return f.marks[max(i, 0)]
}

// note remembers a block, if it is worth it.
func (f *file) note(m mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := f.marks[len(f.marks)-1]; m.at >= last.at+markEvery && m.pos > last.pos {
		f.marks = append(f.marks, m)
	}
}

// window reads a file through a buffer: the heads of small blocks lie close together. What is behind limit is never
// kept, because it may still change.
type window struct {
	seg *segment
	buf []byte
	at  int64
}

const windowLen = 64 << 10

// read fills p from offset at; nothing behind limit. io.EOF: the file or limit ends before.
func (w *window) read(f *file, p []byte, at, limit int64) error {
	if w.seg != f.seg {
		w.seg, w.buf = f.seg, w.buf[:0]
	}
	if at+int64(len(p)) > limit {
		return io.EOF
	}
	if at >= w.at && at+int64(len(p)) <= w.at+int64(len(w.buf)) {
		copy(p, w.buf[at-w.at:])
		return nil
	}
	if len(p) >= windowLen/4 {
		return readFull(f, p, at)
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, windowLen)
	}
	n := min(windowLen, limit-at)
	w.buf, w.at = w.buf[:n], at
	if err := readFull(f, w.buf, at); err != nil {
		w.buf = w.buf[:0]
		return readFull(f, p, at)
	}
	copy(p, w.buf)
	return nil
}

// readFull reads exactly p; io.EOF when the file ends before.
func readFull(f io.ReaderAt, p []byte, at int64) error {
	n, err := f.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.EOF
	}
	return err
}
