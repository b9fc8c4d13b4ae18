// Package buffer is the durable log: one per pipeline, shards are lanes in it. FORMAT.md specifies its files.
package buffer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hydrantd/hydrant"
)

// Log is an append-only sequence of records with many readers and named cursors.
//
// What holds (the numbers are ARCHITECTURE.md's):
//   - I1: Append returns nil only after its block is synced.
//   - I2: a block is one group commit: its records and notes are there together or not at all.
//   - I3: a process appends only to segments it created; each opening has its own run id.
//   - I4: nothing is read that could still be lost: readers end at the durable end.
//   - I5: everything is verified on every read; damage costs the block or shard run it lies in, and is reported.
//   - I6: a segment goes only when every durable cursor is past it, and its retention is over or its space needed.
//   - I7: a failed sync poisons the log: nothing is appended any more, what is durable can still be read.
//
// All methods are safe for concurrent use. No mutex is held across I/O.
type Log interface {
	// Append makes w durable, all of it or nothing, and tells where it lies. It copies w before it returns and
	// honours ctx only until w is admitted to a group; after that it returns with the outcome. Errors: ErrFull,
	// ErrTooLarge, ErrClosed: nothing was written. ErrPoisoned: the outcome is unknown for what was in flight.
	Append(ctx context.Context, w *Write) (Receipt, error)
	// Reader reads all shards or one. It needs no closing and changes nothing; what it finds damaged is copied to the
	// quarantine.
	Reader(f Filter) Reader
	// Cursor opens the journal of one delivery, or makes it. One holder at a time.
	Cursor(name string, start Start) (Cursor, error)
	// State is a snapshot for status, metrics and names.
	State() State
	// Close waits for the group in flight. Appends after it return ErrClosed; readers and cursors go on to work.
	Close() error
}

// Write is what one Append carries.
type Write struct {
	Batch *hydrant.Batch // keys choose the shards; Pos, Shard and Time are ignored; nil = notes only
	Notes []Note         // in the same block as the records
	Block bool           // true: wait while the log is full (stdin, tail); false: ErrFull at once (APIs)
}

// Receipt says where the records of a Write lie: record i at Position(i).
type Receipt struct {
	Log  hydrant.LogID
	Run  hydrant.RunID
	Time int64 // arrival given to the block, Unix ms

	first     hydrant.Position
	positions []hydrant.Position // nil when they are consecutive from first
}

// Position of record i of the Write.
func (r Receipt) Position(i int) hydrant.Position {
	if r.positions == nil {
		return r.first + hydrant.Position(i)
	}
	return r.positions[i]
}

// Filter chooses what a Reader sees.
type Filter struct {
	One   bool   // only the shard named
	Shard uint32 // meaningful with One
}

// Reader reads by position. It is for one goroutine at a time.
type Reader interface {
	// Read appends to into the records from position from on (to limit, exclusive, unless that is 0), until into
	// holds at least Hint bytes or HintRecords records, or the durable end, a change of run or damage is reached. It returns the position to go
	// on from. It never waits: next == from and nil means there is nothing yet. A *Corrupt says which span cannot
	// be read (next is behind it); what was read before it is in into. ErrLapsed: from is before the horizon.
	Read(from, limit hydrant.Position, into *hydrant.Batch) (next hydrant.Position, err error)
	// Measure finds where a batch of size bytes (of data, plus perRecord bytes each) that starts at from ends,
	// without reading more than it must: just behind the record that reaches size, or where the run changes.
	// Whole = false: the durable end came first, and the batch may still grow.
	Measure(from hydrant.Position, size, perRecord int64) (Extent, error)
	// Count counts the records and bytes from a position to the durable end, from the heads of the blocks.
	Count(from hydrant.Position) (Totals, error)
	// Wait returns nil when something durable lies at or behind from, hydrant.ErrDeadline when Clock.Mono reaches
	// until (hydrant.Never: it does not), or ctx's error.
	Wait(ctx context.Context, from hydrant.Position, until time.Duration) error
}

// Hint is how many bytes, and HintRecords how many records, a Read aims at: the chunk that functions get. A Read holds one
// block or shard run more at the most, and of a run with more records than that only as many.
const (
	Hint        = 1 << 20
	HintRecords = 8192
)

// Extent is what Measure found.
type Extent struct {
	To    hydrant.Position
	Whole bool
	Left  int64 // of size: what it lacks to be whole
	Time  int64 // arrival of the block in which the batch begins, Unix ms; 0 when nothing lies there
}

// Totals counts records and the bytes of their data.
type Totals struct{ Records, Bytes int64 }

// Add adds o to t.
func (t *Totals) Add(o Totals) { t.Records += o.Records; t.Bytes += o.Bytes }

// Cursor is the journal of one delivery: its position and what the delivery must remember, in one file.
// It is for one goroutine at a time.
type Cursor interface {
	// Committed is the position up to which (exclusive) everything is done with, as of the last durable Write.
	Committed() hydrant.Position
	// Entries returns what the journal held when it was opened, oldest first: the last snapshot's entries, then
	// those of each frame after it. Empty for a new one.
	Entries() []Entry
	// Write appends one frame and makes it durable, as point p; entries are in it together or not at all. committed never
	// falls. If the frame does not fit, the journal is rewritten with snapshot's entries in front of it (snapshot
	// says the state without these entries).
	Write(p hydrant.Point, committed hydrant.Position, entries []Entry, snapshot func() []Entry) error
	// Lend gives at least n bytes of the space kept back for this delivery's spool to the file system, after a write there
	// met a full disk. The log takes them back before it grows. An error: that much is not left.
	Lend(n int64) error
	Close() error
}

// Entry is one thing a journal remembers: what the types mean is the delivery's affair.
type Entry struct {
	Type uint8
	Body []byte
}

// Start is where a new cursor begins.
type Start uint8

// The places a cursor can start at.
const (
	Oldest Start = iota // the oldest record kept
	Latest              // behind the newest
)

// State is what a log says of itself.
type State struct {
	Log      hydrant.LogID
	Run      hydrant.RunID
	Horizon  hydrant.Position // the oldest record kept; == End when there is none
	End      hydrant.Position // the next position to be given: everything before it is durable
	Disk     int64            // bytes of the segments on disk
	Appended Totals           // ever, lost ones included
	Damaged  Totals           // found lost at recovery, ever
	LastTime int64            // arrival of the newest record, Unix ms
	Full     error            // why appends are refused now; nil when they are not
	Poisoned error            // the failed sync, for good
	Shards   []Shard          // open and closed ones that still matter
}

// Shard is a lane of the log: the hash keys from Lo to Hi inclusive, 128 bits, big-endian.
type Shard struct {
	ID      uint32
	Lo, Hi  [16]byte
	Parents []uint32
	Created int64 // Unix seconds
	Closed  bool
}

// The errors that callers branch on.
var (
	ErrFull     = errors.New("the buffer is full")
	ErrTooLarge = errors.New("larger than a block can be")
	ErrClosed   = errors.New("the log is closed")
	ErrPoisoned = errors.New("the log is poisoned by a failed sync; restart to go on")
	ErrLapsed   = errors.New("the position is before the oldest record kept")
	// ErrNewerFormat: the files were written by a newer version. They are not damaged, and are left alone.
	ErrNewerFormat = errors.New("written by a newer version of hydrant")
	// ErrBehind: a cursor is past the log's end: the log lost its tail or the volume was restored.
	ErrBehind = errors.New("the log ends before what was already delivered")
)

// MaxBlock is the size of the largest block, and so of the largest Write, in bytes, framing included.
const MaxBlock = 32 << 20

// Corrupt is damage that a reader met: the records of Lost cannot be had. The rest can.
type Corrupt struct {
	Segment string // file name
	Offset  int64  // of the block; -1: the block is missing
	Lost    hydrant.Span
	Records int64 // how many of Lost the reader would have seen (all shards: Lost.Len())
	Why     string
}

func (c *Corrupt) Error() string {
	return fmt.Sprintf("%s+%d: %s; records %s are lost", c.Segment, c.Offset, c.Why, c.Lost)
}

// Note is something durable that rides in the block of the records it belongs to. Bodies are made and parsed by the
// functions in note.go.
type Note struct {
	Type  uint16
	Flags uint16
	Body  []byte
}
