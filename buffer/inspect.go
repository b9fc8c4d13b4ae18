package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hydrantd/hydrant"
)

// What Dump, Verify and Salvage have in common. They work offline, write nothing to the data directory, and hold one run or
// the notes of one block in memory at the most.

// logPlace is a log found under the directory that was asked for.
type logPlace struct {
	stream  string // "" unless the directory was a whole data_dir
	dir     string // of the segments
	cursors string // "" when only the segments were asked for
}

func (p logPlace) String() string { return cmp.Or(p.stream, p.dir) }

// findLogs takes dir as a data_dir, as streams/<name> or as a folder of segments in that.
func findLogs(fsys hydrant.FS, dir string) ([]logPlace, error) {
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	has := func(match func(fs.DirEntry) bool) bool { return slices.ContainsFunc(list, match) }
	switch {
	case has(func(e fs.DirEntry) bool { return e.Name() == "streams" && e.IsDir() }):
		streams, err := fsys.ReadDir(filepath.Join(dir, "streams"))
		var places []logPlace
		for _, e := range streams {
			if e.IsDir() {
				places = append(places, streamPlace(e.Name(), filepath.Join(dir, "streams", e.Name())))
			}
		}
		slices.SortFunc(places, func(a, b logPlace) int { return cmp.Compare(a.stream, b.stream) })
		return places, err
	case has(func(e fs.DirEntry) bool { return e.Name() == "log" && e.IsDir() }):
		return []logPlace{streamPlace("", dir)}, nil
	case has(func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), segmentSuffix) }):
		return []logPlace{{dir: dir}}, nil
	}
	return nil, fmt.Errorf("%s: there is no log in it: want a data_dir, a folder of its streams, or a folder of segments in that", dir)
}

func streamPlace(stream, dir string) logPlace {
	return logPlace{stream: stream, dir: filepath.Join(dir, "log"), cursors: filepath.Join(dir, "cursors")}
}

const segmentSuffix = ".seg"

// segmentFile is a segment as it was found on disk.
type segmentFile struct {
	name, path string
	header     segmentHeader
	bad        error // the header does not verify, and this is why
	size       int64
}

// listSegments reads the headers of all segments: those that verify by opening and base, then the others by name. An
// ErrNewerFormat ends it.
func listSegments(fsys hydrant.FS, dir string) ([]*segmentFile, error) {
	list, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // made, but never opened
	}
	if err != nil {
		return nil, err
	}
	var segs []*segmentFile
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), segmentSuffix) || e.IsDir() {
			continue
		}
		s := &segmentFile{name: e.Name(), path: filepath.Join(dir, e.Name())}
		if err := s.readHeader(fsys); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
		segs = append(segs, s)
	}
	slices.SortFunc(segs, func(a, b *segmentFile) int {
		switch {
		case a.bad == nil && b.bad != nil:
			return -1
		case a.bad != nil && b.bad == nil:
			return 1
		}
		return cmp.Or(cmp.Compare(a.header.opening, b.header.opening), cmp.Compare(a.header.base, b.header.base), cmp.Compare(a.name, b.name))
	})
	return segs, nil
}

func (s *segmentFile) readHeader(fsys hydrant.FS) error {
	f, err := fsys.Open(s.path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		return err
	}
	b := make([]byte, min(s.size, fileHeaderLen))
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		s.bad = err
		return nil
	}
	s.header, err = parseSegmentHeader(b)
	if errors.Is(err, ErrNewerFormat) {
		return err
	}
	if err != nil {
		s.header, s.bad = segmentHeader{}, err
	}
	return nil
}

// walk steps over the blocks of one segment, past damage.
type walk struct {
	f    hydrant.File
	size int64
	salt [16]byte

	seen []byte // a piece of the file, and where it lies
	at   int64
	big  []byte // of one part of a block
}

// inspectWindow is how much a walk reads at once.
const inspectWindow = 256 << 10

func openWalk(fsys hydrant.FS, s *segmentFile) (*walk, error) {
	f, err := fsys.Open(s.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &walk{f: f, size: s.size, salt: s.header.salt, seen: make([]byte, 0, inspectWindow)}, nil
}

// read returns n bytes at an offset. They are good until the next call.
func (w *walk) read(at, n int64) ([]byte, error) {
	if at+n > w.size {
		return nil, fmt.Errorf("%w: the file ends", errNoBlock)
	}
	if at >= w.at && at+n <= w.at+int64(len(w.seen)) {
		return w.seen[at-w.at:][:n], nil
	}
	if n <= inspectWindow {
		w.seen, w.at = w.seen[:min(inspectWindow, w.size-at)], at
		if got, err := w.f.ReadAt(w.seen, at); err == nil || got == len(w.seen) {
			return w.seen[:n], nil
		}
		w.seen = w.seen[:0] // perhaps something farther on cannot be read: what was asked for may
	}
	if int64(cap(w.big)) < n {
		w.big = make([]byte, n)
	}
	w.big = w.big[:n]
	if got, err := w.f.ReadAt(w.big, at); int64(got) < n {
		return nil, err
	}
	return w.big, nil
}

// readRaw reads the front of a block: head and directory, not verified.
func (w *walk) readRaw(at int64) ([]byte, error) {
	b, err := w.read(at, headLen)
	if err != nil {
		return nil, err
	}
	n, err := directoryLen(b)
	if err != nil {
		return nil, err
	}
	return w.read(at, int64(headLen+n))
}

func (w *walk) head(at int64) (head, error) {
	b, err := w.readRaw(at)
	if err != nil {
		return head{}, err
	}
	h, err := parseHead(b, &w.salt)
	if err == nil && at+int64(h.length) > w.size {
		return head{}, fmt.Errorf("%w: the file ends", errNoBlock)
	}
	return h, err
}

// each calls block for every valid head, gap for what lies before a valid head and is none, and returns where the last valid
// block ends. An ErrNewerFormat or an error of block or gap ends it.
func (w *walk) each(block func(at int64, h *head) error, gap func(at, to int64, after *head) error) (end int64, err error) {
	end = fileHeaderLen
	var last *head
	for at := end; at+headLen <= w.size; {
		h, err := w.head(at)
		switch {
		case errors.Is(err, ErrNewerFormat):
			return end, err
		case err != nil || last != nil && h.seq <= last.seq:
			at += blockAlign
			continue
		case at > end:
			if err := gap(end, at, &h); err != nil {
				return end, err
			}
		}
		if err := block(at, &h); err != nil {
			return end, err
		}
		at += int64(h.length)
		end, last = at, &h
	}
	return end, nil
}

// unfinished tells whether something begins behind the last valid block: one whose writing was cut off, or a damaged one.
func (w *walk) unfinished(end int64) bool {
	b, err := w.read(end, min(blockAlign, w.size-end))
	return err != nil || slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

// notes reads and verifies the notes of a block. Their bodies are good until the next read.
func (w *walk) notes(at int64, h *head) ([]Note, error) {
	b, err := w.read(at+int64(h.notesAt()), int64(h.notesLen))
	if err != nil {
		return nil, err
	}
	if err := h.checkNotes(b, &w.salt); err != nil {
		return nil, err
	}
	return parseNotes(b)
}

// run reads and verifies a run. It is good until the next read.
func (w *walk) run(at int64, h *head, r *shardRun) ([]byte, error) {
	b, err := w.read(at+int64(r.offset), int64(r.stored()))
	if err != nil {
		return nil, err
	}
	return b, h.checkRun(r, b, &w.salt)
}

// parts calls note and record for what verifies in a block, and damaged for its notes (r nil) and runs that do not.
// A run whose lengths do not add up gives no record. Errors are the callees'.
func (w *walk) parts(at int64, h *head, note func(Note) error, record func(*hydrant.Record) error, damaged func(r *shardRun, why error) error) error {
	notes, bad := w.notes(at, h)
	if bad != nil {
		if err := damaged(nil, bad); err != nil {
			return err
		}
		notes = nil
	}
	for _, n := range notes {
		if err := note(n); err != nil {
			return err
		}
	}
	table, badTable := blockAttrs(notes)
	for i := range h.runs {
		r := &h.runs[i]
		why := cmp.Or(bad, badTable)
		var b []byte
		if why == nil || !r.needsNotes() {
			b, why = w.run(at, h, r)
		}
		if why == nil {
			why = h.decodeRun(r, b, table, func(hydrant.Record) bool { return true })
		}
		if why != nil {
			if err := damaged(r, why); err != nil {
				return err
			}
			continue
		}
		var stopped error
		err := h.decodeRun(r, b, table, func(rec hydrant.Record) bool {
			stopped = record(&rec)
			return stopped == nil
		})
		if err := cmp.Or(stopped, err); err != nil {
			return err
		}
	}
	return nil
}
