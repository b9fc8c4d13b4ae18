package buffer

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hydrantd/hydrant"
)

// fold is what all the notes of a log mean together, up to some block, and its sums. A checkpoint is a fold as notes.
type fold struct {
	shards   []Shard // by id
	closings map[uint32]ShardClosed
	sources  map[sourceKey][]byte
	replays  map[string]Note
	dedupe   hydrant.Position
	appended Totals
	damaged  Totals
}

type sourceKey struct{ source, key string }

type sourcePosition struct {
	sourceKey
	pos []byte
}

func (p sourcePosition) compare(o sourcePosition) int {
	return cmp.Or(strings.Compare(p.source, o.source), strings.Compare(p.key, o.key))
}

func newFold() fold {
	return fold{closings: map[uint32]ShardClosed{}, sources: map[sourceKey][]byte{}, replays: map[string]Note{}}
}

// apply adds notes that are younger than all before them. Bodies are copied. An error names a note that cannot be read; the
// others have been applied.
func (f *fold) apply(notes []Note) error {
	var bad error
	for _, n := range notes {
		if err := n.Unknown(); err != nil {
			return err
		}
		if err := f.one(n); err != nil {
			bad = fmt.Errorf("note of type %d: %w", n.Type, err)
		}
	}
	return bad
}

func (f *fold) one(n Note) error {
	switch n.Type {
	case NoteSource:
		p, err := ParseSourcePosition(n.Body)
		if err == nil {
			f.sources[sourceKey{p.Source, p.Key}] = bytes.Clone(p.Position)
		}
		return err
	case NoteReplay:
		p, err := ParseReplayProgress(n.Body)
		if err == nil {
			f.replays[p.Name] = Note{n.Type, n.Flags, bytes.Clone(n.Body)}
		}
		return err
	case NoteShardOpened:
		o, err := ParseShardOpened(n.Body)
		if err == nil {
			f.open(o.Shard)
		}
		return err
	case NoteShardClosed:
		c, err := ParseShardClosed(n.Body)
		if err == nil {
			f.close(c)
		}
		return err
	case NoteSums:
		s, err := ParseLedgerSums(n.Body)
		if err == nil {
			f.appended, f.damaged = s.Appended, s.Damaged
		}
		return err
	case NoteDedupeFrom:
		from, err := ParseDedupeFrom(n.Body)
		if err == nil {
			f.dedupe = from.Position
		}
		return err
	}
	return nil // invocations, the attributes of a block, and what may be ignored: a fold has nothing of them
}

func (f *fold) open(s Shard) {
	i, found := f.find(s.ID)
	if !found {
		f.shards = slices.Insert(slices.Clone(f.shards), i, s)
	}
}

func (f *fold) close(c ShardClosed) {
	f.closings[c.ID] = c
	if i, found := f.find(c.ID); found {
		f.shards = slices.Clone(f.shards)
		f.shards[i].Closed = true
	}
}

func (f *fold) find(id uint32) (int, bool) {
	return slices.BinarySearchFunc(f.shards, id, func(s Shard, id uint32) int { return cmp.Compare(s.ID, id) })
}

// drop forgets the closed shards that have no record at or behind horizon.
func (f *fold) drop(horizon hydrant.Position) {
	f.shards = slices.DeleteFunc(slices.Clone(f.shards), func(s Shard) bool {
		if s.Closed && f.closings[s.ID].End <= horizon {
			delete(f.closings, s.ID)
			return true
		}
		return false
	})
}

// notes are those of a checkpoint: applied to an empty fold they make this one.
func (f *fold) notes() []Note {
	notes := []Note{LedgerSums{f.appended, f.damaged}.Note()}
	for _, s := range f.shards {
		notes = append(notes, ShardOpened{s}.Note())
		if s.Closed {
			notes = append(notes, f.closings[s.ID].Note())
		}
	}
	var sources []sourcePosition
	for k, pos := range f.sources {
		sources = append(sources, sourcePosition{k, pos})
	}
	slices.SortFunc(sources, sourcePosition.compare)
	for _, s := range sources {
		notes = append(notes, SourcePosition{s.source, s.key, s.pos}.Note())
	}
	for _, name := range slices.Sorted(maps.Keys(f.replays)) {
		notes = append(notes, f.replays[name])
	}
	if f.dedupe != 0 {
		notes = append(notes, DedupeFrom{f.dedupe}.Note())
	}
	return notes
}
