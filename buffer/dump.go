package buffer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hydrantd/hydrant"
)

// Dump writes out all that is in the logs and journals under dir, which is a data_dir, the folder of one of its streams or
// a folder of segments, log or quarantine: lines of JSON, as FORMAT.md has them. Damage is a line, not an error.
func Dump(fsys hydrant.FS, dir string, out io.Writer) error {
	places, err := findLogs(fsys, dir)
	if err != nil {
		return err
	}
	d := dumper{fsys: fsys, out: bufio.NewWriter(out)}
	for _, p := range places {
		if err := d.place(p); err != nil {
			return errors.Join(err, d.out.Flush())
		}
	}
	return d.out.Flush()
}

type dumper struct {
	fsys hydrant.FS
	out  *bufio.Writer
	buf  line
}

// put writes the line that make makes.
func (d *dumper) put(l line) error {
	d.buf = append(l, '\n')
	_, err := d.out.Write(d.buf)
	return err
}

// start is a line to add to.
func (d *dumper) start() line { return d.buf[:0] }

func (d *dumper) place(p logPlace) error {
	if p.stream != "" {
		if err := d.put(d.start().begin().word("stream", p.stream).end()); err != nil {
			return err
		}
	}
	segs, err := listSegments(d.fsys, p.dir)
	if err != nil {
		return err
	}
	for _, s := range segs {
		if s.bad != nil {
			err = d.put(d.start().begin().number("damage", 0).word("part", "header").word("file", s.name).end())
		} else {
			err = d.segment(s)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
	}
	if p.cursors == "" {
		return nil
	}
	return d.cursors(p.cursors)
}

func (d *dumper) segment(s *segmentFile) error {
	w, err := openWalk(d.fsys, s)
	if err != nil {
		return err
	}
	defer w.f.Close()
	if err := d.put(d.start().segment(s)); err != nil {
		return err
	}
	_, err = w.each(
		func(at int64, h *head) error { return d.block(w, at, h) },
		func(at, to int64, _ *head) error { return d.damagedHead(at, to) })
	return err
}

func (d *dumper) damagedHead(at, to int64) error {
	return d.put(d.start().begin().number("damage", at).word("part", "head").number("bytes", to-at).end())
}

// damagedPart is for a run, or for the notes when r is nil.
func (d *dumper) damagedPart(at int64, h *head, r *shardRun) error {
	l := d.start().begin()
	if r == nil {
		return d.put(l.number("damage", at+int64(h.notesAt())).word("part", "notes").number("bytes", int64(h.notesLen)).end())
	}
	return d.put(l.number("damage", at+int64(r.offset)).word("part", "run").number("bytes", int64(r.stored())).
		number("shard", int64(r.shard)).end())
}

func (d *dumper) block(w *walk, at int64, h *head) error {
	if err := d.put(d.start().block(at, h)); err != nil {
		return err
	}
	return w.parts(at, h,
		func(n Note) error { return d.put(d.start().note(n)) },
		func(r *hydrant.Record) error { return d.put(d.start().record(r)) },
		func(r *shardRun, _ error) error { return d.damagedPart(at, h, r) })
}

func (d *dumper) cursors(dir string) error {
	list, err := d.fsys.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string
	for _, e := range list {
		if strings.HasSuffix(e.Name(), journalSuffixes[0]) || strings.HasSuffix(e.Name(), journalSuffixes[1]) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := d.journal(filepath.Join(dir, name), name); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) journal(path, name string) error {
	b, err := readWhole(d.fsys, path)
	if err != nil {
		return err
	}
	h, err := parseCursorHeader(b)
	if errors.Is(err, ErrNewerFormat) {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		return nil // not in use, or damaged: Verify tells which
	}
	l := d.start().begin().word("cursor", name).position("generation", h.generation).word("log", h.log.String()).end()
	if err := d.put(l); err != nil {
		return err
	}
	seq := uint64(0)
	for at := fileHeaderLen; at < len(b); {
		f, n, err := parseFrame(b[at:], &h.salt)
		if err != nil || f.seq != seq+1 {
			return nil
		}
		l := d.start().begin().number("frame", int64(at)).position("seq", f.seq).position("committed", uint64(f.committed)).end()
		if err := d.put(l); err != nil {
			return err
		}
		for _, e := range f.entries {
			if err := d.put(d.start().begin().number("entry", int64(e.Type)).base64("body", e.Body).end()); err != nil {
				return err
			}
		}
		at, seq = at+n, f.seq
	}
	return nil
}
