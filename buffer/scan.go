package buffer

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hydrantd/hydrant"
)

// scan steps over the blocks of one segment by their heads.
type scan struct {
	f     *file
	win   *window
	limit int64            // nothing is durable behind it
	at    int64            // of the block under it
	pos   hydrant.Position // that it should begin with
	bytes int64            // of data in the segment before it
	raw   []byte
}

// head reads and verifies the head of the block at s.at. Errors: errNoBlock when there is none or it is damaged,
// ErrNewerFormat, or what reading gave.
func (s *scan) head() (head, error) {
	h, err := s.headAt(s.at)
	if err == nil && h.base < s.pos {
		return head{}, fmt.Errorf("%w: begins with position %d, %d was to come", errNoBlock, h.base, s.pos)
	}
	return h, err
}

func (s *scan) headAt(at int64) (head, error) {
	s.raw = slices.Grow(s.raw[:0], headLen)[:headLen]
	if err := s.win.read(s.f, s.raw, at, s.limit); err != nil {
		return head{}, noBlock(err)
	}
	n, err := directoryLen(s.raw)
	if err != nil {
		return head{}, err
	}
	if n > 0 {
		s.raw = slices.Grow(s.raw, n)[:headLen+n]
		if err := s.win.read(s.f, s.raw, at, s.limit); err != nil {
			return head{}, noBlock(err)
		}
	}
	h, err := parseHead(s.raw, &s.f.seg.salt)
	if err == nil && at+int64(h.length) > s.limit {
		return head{}, fmt.Errorf("%w: %d bytes from %d on, the file ends at %d", errNoBlock, h.length, at, s.limit)
	}
	return h, err
}

// noBlock makes the end of the file an invalid block. Other errors say nothing about the bytes.
func noBlock(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the file ends", errNoBlock)
	}
	return err
}

// skip moves behind the block whose head is h.
func (s *scan) skip(h *head) {
	s.at += int64(h.length)
	s.pos = h.next()
	s.bytes += h.bytes()
	s.f.note(mark{s.pos, s.at, s.bytes})
}

// resync moves to the next valid block behind s.at that does not begin before s.pos. False: there is none. The salt tells the
// segment's own blocks from copies in records.
func (s *scan) resync() (bool, error) {
	for at := s.at + blockAlign; at+headLen <= s.limit; at += blockAlign {
		h, err := s.headAt(at)
		switch {
		case err == nil && h.base >= s.pos:
			s.at = at
			return true, nil
		case err != nil && !errors.Is(err, errNoBlock) && !errors.Is(err, ErrNewerFormat):
			return false, err
		}
	}
	return false, nil
}

// notes reads and verifies the notes of the block under s.
func (s *scan) notes(h *head) ([]Note, error) {
	b := make([]byte, h.notesLen)
	if err := s.win.read(s.f, b, s.at+int64(h.notesAt()), s.limit); err != nil {
		return nil, noBlock(err)
	}
	if err := h.checkNotes(b, &s.f.seg.salt); err != nil {
		return nil, err
	}
	return parseNotes(b)
}

// attrs reads the attributes of the block's records, if r needs them.
func (s *scan) attrs(h *head, r *shardRun) (attrTable, error) {
	if !r.needsNotes() {
		return nil, nil
	}
	notes, err := s.notes(h)
	if err != nil {
		return nil, err
	}
	return blockAttrs(notes)
}

// stored reads a run of the block under s into b and verifies it.
func (s *scan) stored(h *head, r *shardRun, b []byte) error {
	if err := s.win.read(s.f, b, s.at+int64(r.offset), s.limit); err != nil {
		return noBlock(err)
	}
	return h.checkRun(r, b, &s.f.seg.salt)
}
