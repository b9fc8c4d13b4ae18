package hydrant

import "unsafe"

// Batch is a reusable arena of records: one block of bytes and an index into it.
// The zero Batch is empty and ready. It is not safe for use by several goroutines at once.
type Batch struct {
	// Log and Run say where the records were read from; a reader never puts records of two runs into one batch.
	Log LogID
	Run RunID

	arena   []byte
	records []Record
	bytes   int64
	leans   int64 // see Lean
}

// recordSize is what the index takes for each record, in bytes.
const recordSize = int64(unsafe.Sizeof(Record{}))

// Append copies r, its key and its data included, to the end of the batch.
func (b *Batch) Append(r Record) {
	room := b.Room(len(r.Key) + len(r.Data))
	n := copy(room, r.Key)
	copy(room[n:], r.Data)
	if r.Key != nil {
		r.Key = room[:n:n]
	}
	r.Data = room[n:]
	b.View(r)
}

// Room extends the arena by n bytes and returns them, to be filled and then pointed into by View.
// Views made earlier stay valid.
func (b *Batch) Room(n int) []byte {
	if len(b.arena)+n > cap(b.arena) {
		// Records already handed out keep the old arena alive; nothing is copied.
		b.arena = make([]byte, 0, max(n, 2*cap(b.arena), 64<<10))
	}
	at := len(b.arena)
	b.arena = b.arena[:at+n]
	return b.arena[at : at+n : at+n]
}

// View adds a record whose Key and Data lie in what Room returned.
func (b *Batch) View(r Record) {
	b.records = append(b.records, r)
	b.bytes += int64(len(r.Data))
}

// Lean counts n bytes outside the batch that records given to View alias, until the batch is reset.
func (b *Batch) Lean(n int64) { b.leans += n }

// Len is the number of records, Bytes the sum of their data.
func (b *Batch) Len() int     { return len(b.records) }
func (b *Batch) Bytes() int64 { return b.bytes }

// At returns record i. The pointer is good until the next View, Append or Reset.
func (b *Batch) At(i int) *Record { return &b.records[i] }

// Reset empties the batch and keeps its memory; every view into it dies.
func (b *Batch) Reset() {
	clear(b.records)
	b.Log, b.Run = LogID{}, RunID{}
	b.arena, b.records, b.bytes = b.arena[:0], b.records[:0], 0
	b.leans = 0
}

// Cap is the memory that the batch holds, its index and what it leans on included, in bytes: what its owner accounts for.
func (b *Batch) Cap() int64 { return int64(cap(b.arena)) + int64(cap(b.records))*recordSize + b.leans }
