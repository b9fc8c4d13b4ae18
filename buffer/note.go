package buffer

import (
	"encoding/binary"
	"fmt"

	"github.com/hydrantd/hydrant"
)

// Types of notes. From NoteMayIgnore on a reader may skip what it does not know; below, it must refuse.
const (
	NoteSource       uint16 = 1 // SourcePosition
	NoteInvocation   uint16 = 2 // Invocation
	NoteShardOpened  uint16 = 3 // ShardOpened
	NoteShardClosed  uint16 = 4 // ShardClosed
	NoteReplay       uint16 = 5 // ReplayProgress
	NoteAttributes   uint16 = 6 // the attributes of the block's records; appendBlock makes it
	NoteSums         uint16 = 7 // LedgerSums, in checkpoints
	NoteDedupeFrom   uint16 = 8 // DedupeFrom, in checkpoints
	NoteMayIgnore    uint16 = 32768
	noteFlagsMust    uint16 = 0x00ff // flags of a note that a reader must know; version 1 has none
	noteHeadLen             = 8
	identityLen             = 26
	invocationSpread        = 1
)

// Unknown is the error for a note that this version does not know, nil when it may be skipped. Known types are fine.
func (n Note) Unknown() error {
	if n.Flags&noteFlagsMust != 0 {
		return fmt.Errorf("%w: note of type %d with the flags %#x", ErrNewerFormat, n.Type, n.Flags)
	}
	if n.Type == 0 || n.Type > NoteDedupeFrom && n.Type < NoteMayIgnore {
		return fmt.Errorf("%w: note of type %d", ErrNewerFormat, n.Type)
	}
	return nil
}

// SourcePosition says how far a source has come: everything before Position is in the log, up to and including the
// block that the note is in. The latest one of a (Source, Key) counts.
type SourcePosition struct {
	Source   string // which source of the pipeline, by kind and place: "tail"
	Key      string // what is read, in the source's own terms: a file's identity
	Position []byte // in the source's own terms
}

// Note encodes p.
func (p SourcePosition) Note() Note {
	b := appendString(nil, p.Source)
	b = appendString(b, p.Key)
	return Note{Type: NoteSource, Body: appendString(b, p.Position)}
}

// ParseSourcePosition decodes the body of a NoteSource. Position aliases it.
func ParseSourcePosition(body []byte) (SourcePosition, error) {
	f := fields{b: body}
	p := SourcePosition{string(f.bytes()), string(f.bytes()), f.bytes()}
	return p, f.end("source position")
}

// Invocation remembers one call of a producer and where its records lie, so that a retry gets the first answer.
type Invocation struct {
	Key    [16]byte // hash of (caller, operation, stream, invocation id)
	Digest [8]byte  // of the body
	Time   int64    // arrival, Unix ms: the window counts from it
	First  hydrant.Position
	Count  uint32
	// Spread is nil when the records lie at First and the positions behind it, in the order of the call. Else it has
	// Count offsets: record i lies at First + Spread[i].
	Spread []uint32
}

// Note encodes v.
func (v Invocation) Note() Note {
	b := append([]byte(nil), v.Key[:]...)
	b = append(b, v.Digest[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(v.Time))
	b = binary.LittleEndian.AppendUint64(b, uint64(v.First))
	b = binary.LittleEndian.AppendUint32(b, v.Count)
	if v.Spread == nil {
		return Note{Type: NoteInvocation, Body: append(b, 0)}
	}
	b = append(b, invocationSpread)
	for _, at := range v.Spread {
		b = binary.LittleEndian.AppendUint32(b, at)
	}
	return Note{Type: NoteInvocation, Body: b}
}

// ParseInvocation decodes the body of a NoteInvocation.
func ParseInvocation(body []byte) (Invocation, error) {
	f := fields{b: body}
	var v Invocation
	f.into(v.Key[:])
	f.into(v.Digest[:])
	v.Time, v.First, v.Count = f.i64(), hydrant.Position(f.u64()), f.u32()
	switch form := f.u8(); {
	case form > invocationSpread:
		return v, fmt.Errorf("%w: invocation of form %d", ErrNewerFormat, form)
	case form == invocationSpread && uint64(v.Count)*4 > uint64(len(f.b)):
		f.short = true
	case form == invocationSpread:
		v.Spread = make([]uint32, v.Count)
		for i := range v.Spread {
			v.Spread[i] = f.u32()
		}
	}
	return v, f.end("invocation")
}

// ShardOpened says that a shard takes records from the note's block on.
type ShardOpened struct{ Shard }

// Note encodes o. Closed is not part of it: see ShardClosed.
func (o ShardOpened) Note() Note {
	b := binary.LittleEndian.AppendUint32(nil, o.ID)
	b = append(b, o.Lo[:]...)
	b = append(b, o.Hi[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(o.Created))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(o.Parents)))
	for _, p := range o.Parents {
		b = binary.LittleEndian.AppendUint32(b, p)
	}
	return Note{Type: NoteShardOpened, Body: b}
}

// ParseShardOpened decodes the body of a NoteShardOpened.
func ParseShardOpened(body []byte) (ShardOpened, error) {
	f := fields{b: body}
	var o ShardOpened
	o.ID = f.u32()
	f.into(o.Lo[:])
	f.into(o.Hi[:])
	o.Created = f.i64()
	for range f.count(4) {
		o.Parents = append(o.Parents, f.u32())
	}
	return o, f.end("shard opened")
}

// ShardClosed says that a shard takes no records any more.
type ShardClosed struct {
	ID   uint32
	Time int64            // Unix ms
	End  hydrant.Position // all its records are before it
}

// Note encodes c.
func (c ShardClosed) Note() Note {
	b := binary.LittleEndian.AppendUint32(nil, c.ID)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Time))
	return Note{Type: NoteShardClosed, Body: binary.LittleEndian.AppendUint64(b, uint64(c.End))}
}

// ParseShardClosed decodes the body of a NoteShardClosed.
func ParseShardClosed(body []byte) (ShardClosed, error) {
	f := fields{b: body}
	c := ShardClosed{f.u32(), f.i64(), hydrant.Position(f.u64())}
	return c, f.end("shard closed")
}

// ReplayProgress says how far a replay into this log has come. The latest one of a Name counts.
type ReplayProgress struct {
	Name  string
	Last  hydrant.Identity // of the last record replayed
	State []byte           // in the replay's own terms
}

// Note encodes p.
func (p ReplayProgress) Note() Note {
	b := appendString(nil, p.Name)
	b = appendIdentity(b, &p.Last)
	return Note{Type: NoteReplay, Body: appendString(b, p.State)}
}

// ParseReplayProgress decodes the body of a NoteReplay. State aliases it.
func ParseReplayProgress(body []byte) (ReplayProgress, error) {
	f := fields{b: body}
	p := ReplayProgress{Name: string(f.bytes())}
	if id := f.take(identityLen); id != nil {
		p.Last = parseIdentity(id)
	}
	p.State = f.bytes()
	return p, f.end("replay progress")
}

// LedgerSums are the log's side of the books, as of the beginning of the checkpoint's segment.
type LedgerSums struct{ Appended, Damaged Totals }

// Note encodes s.
func (s LedgerSums) Note() Note {
	return Note{Type: NoteSums, Body: appendTotals(appendTotals(nil, s.Appended), s.Damaged)}
}

// ParseLedgerSums decodes the body of a NoteSums.
func ParseLedgerSums(body []byte) (LedgerSums, error) {
	f := fields{b: body}
	s := LedgerSums{f.totals(), f.totals()}
	return s, f.end("ledger sums")
}

// DedupeFrom says where to begin reading invocations when the log is opened: those before it are past their window.
type DedupeFrom struct{ Position hydrant.Position }

// Note encodes d.
func (d DedupeFrom) Note() Note {
	return Note{Type: NoteDedupeFrom, Body: binary.LittleEndian.AppendUint64(nil, uint64(d.Position))}
}

// ParseDedupeFrom decodes the body of a NoteDedupeFrom.
func ParseDedupeFrom(body []byte) (DedupeFrom, error) {
	f := fields{b: body}
	d := DedupeFrom{hydrant.Position(f.u64())}
	return d, f.end("dedupe from")
}

// appendIdentity appends the 26 bytes of an identity: log 10, run 4, position u64, sub u32.
func appendIdentity(b []byte, id *hydrant.Identity) []byte {
	b = append(b, id.Log[:]...)
	b = append(b, id.Run[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(id.Pos))
	return binary.LittleEndian.AppendUint32(b, id.Sub)
}

func parseIdentity(b []byte) hydrant.Identity {
	return hydrant.Identity{
		Log: hydrant.LogID(b[:10]), Run: hydrant.RunID(b[10:14]),
		Pos: hydrant.Position(binary.LittleEndian.Uint64(b[14:])), Sub: binary.LittleEndian.Uint32(b[22:]),
	}
}

// appendNotes appends notes as they lie in a block: type u16, flags u16, length u32, bytes.
func appendNotes(b []byte, notes []Note) []byte {
	for _, n := range notes {
		b = binary.LittleEndian.AppendUint16(b, n.Type)
		b = binary.LittleEndian.AppendUint16(b, n.Flags)
		b = appendString(b, n.Body)
	}
	return b
}

// parseNotes cuts the notes of a block. Bodies alias b. Whether a type is known is left to those who need its meaning: see
// Note.Unknown.
func parseNotes(b []byte) ([]Note, error) {
	var notes []Note
	for f := (fields{b: b}); len(f.b) > 0; {
		n := Note{Type: f.u16(), Flags: f.u16(), Body: f.bytes()}
		if err := f.end("note"); err != nil {
			return notes, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}
