// Package hydrant holds the nouns that every part of the daemon shares: records and their identity, batches of
// them, and the three things that tests break on purpose: the file system, the clock and the memory budget.
// It imports nothing of hydrant's own.
package hydrant

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
)

// Position numbers the records of one log: dense, from 1, never reused or renumbered.
// Zero means "none yet".
type Position uint64

// Span is a half-open range of positions: From is in it, To is not.
type Span struct{ From, To Position }

// Len is the number of positions in the span.
func (s Span) Len() int64 { return int64(s.To) - int64(s.From) }

func (s Span) String() string { return fmt.Sprintf("%d-%d", s.From, s.To) }

// LogID is the random name of a log, minted with it: 80 bits.
type LogID [10]byte

var logIDText = base32.StdEncoding.WithPadding(base32.NoPadding)

// String is the id as it stands in object names: 16 characters of lower-case RFC 4648 base32 without padding.
func (id LogID) String() string { return strings.ToLower(logIDText.EncodeToString(id[:])) }

// RunID is the random name of one opening of a log. Two clones of one data directory differ in it.
type RunID [4]byte

// String is the id as it stands in object names: 8 hexadecimal digits.
func (id RunID) String() string { return hex.EncodeToString(id[:]) }

// Identity names a record in every store; nothing shorter does.
type Identity struct {
	Log LogID
	Run RunID
	Pos Position
	Sub uint32 // > 0 when a function made several records of one: numbered from 1
}

// Attribute is a name and a value that a source gives its records, such as file or host.
// It travels beside the data and is interned once per block on disk.
type Attribute struct{ Name, Value string }

// Record is one record as it lies in a log: a view, whose Key and Data alias the Batch it came from and die when
// that batch is reset. Keep one = copy it.
type Record struct {
	Pos     Position    // 0 before it is appended
	Sub     uint32      // see Identity
	Shard   uint32      // the lane it lies in; set on reading
	Partial bool        // one piece of a line longer than max_line; the next record of the shard goes on with it
	Time    int64       // arrival, Unix milliseconds, never falling within a log
	Key     []byte      // partition key; nil = none, the record may go to any shard
	Data    []byte      // the record itself, any bytes
	Attrs   []Attribute // shared between records: never write to it
	Origin  *Identity   // the identity a replayed record had; nil otherwise
}
