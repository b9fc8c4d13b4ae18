package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/hydrantd/hydrant"
)

// A block is one group commit. It begins at a multiple of 512 bytes:
//
//	0     4 "HYBK"                        24 u32 count of records        48   4 run id
//	4   u32 head crc                      28 u32 length of the notes     52 u32 seq: counts up within a segment
//	8   u32 length, padding included      32 i64 time, running, ms       56 u32 notes crc
//	12   u8 kind   13 u8 flags            40 i64 wall clock, raw, ms     60 u32 head crc of the block before; 0 = none
//	14  u16 number of runs                16 u64 base position
//	64    directory: runs × { shard, count, first, offset, meta length, data length, run crc, flags: u32 each }
//	      notes:     { type u16, flags u16, length u32, bytes } …
//	      per run:   meta (columns, see columns.go) and data: { length u32, bytes } × count
//	      zeros to a multiple of 512
//
// head crc = CRC32C(salt ‖ bytes 8–63 ‖ directory); notes crc and run crc are salted too, over what is stored.
const (
	blockMagic = "HYBK"
	blockShift = 9
	blockAlign = 1 << blockShift
	headLen    = 64
	runLen     = 32

	kindData       uint8 = 1
	kindCheckpoint uint8 = 2

	mostRecords = MaxBlock / 4 // in a block: each has a length
)

// head is the head of a block and its directory.
type head struct {
	kind               uint8
	base               hydrant.Position
	count              uint32
	time, wall         int64 // Unix ms: running, never falling; as the clock said
	run                hydrant.RunID
	seq, prev          uint32
	length             uint32 // of the whole block
	notesLen, notesCRC uint32
	crc                uint32
	runs               []shardRun
}

// shardRun is one shard's records of a block: contiguous, from position base+first on.
type shardRun struct{ shard, count, first, offset, metaLen, dataLen, crc, flags uint32 }

// errNoBlock: the bytes are not a block, or a damaged one.
var errNoBlock = errors.New("no valid block")

// stored is how many bytes of the block the run takes, from its offset on.
func (r *shardRun) stored() int { return int(r.metaLen) + int(r.dataLen) }

// bytes is the sum of the records' data.
func (r *shardRun) bytes() int64 { return int64(r.dataLen) - 4*int64(r.count) }

// needsNotes tells whether the run cannot be decoded without the attributes in the notes.
func (r *shardRun) needsNotes() bool { return r.flags&runAttrs != 0 }

// next is the position behind the block.
func (h *head) next() hydrant.Position { return h.base + hydrant.Position(h.count) }

// empty tells whether the block holds nothing at all: it is there to prove the one before it.
func (h *head) empty() bool { return h.kind == kindData && h.count == 0 && h.notesLen == 0 }

// notesAt is where the notes begin in the block.
func (h *head) notesAt() int { return headLen + len(h.runs)*runLen }

// bytes is the sum of the data of all records.
func (h *head) bytes() int64 {
	var n int64
	for i := range h.runs {
		n += h.runs[i].bytes()
	}
	return n
}

// appendBlock appends a block to dst, padded. recs are sorted by shard and, from h.base on, by position; their Pos
// and Time are set. h needs kind, base, time, wall, run, seq and prev; the rest is filled in.
func appendBlock(dst []byte, salt *[16]byte, h *head, recs []hydrant.Record, notes []Note) []byte {
	start := len(dst)
	h.count = uint32(len(recs))
	h.runs = splitRuns(h.runs[:0], recs)
	var table attrWriter
	table.collect(recs)
	dst = append(dst, make([]byte, h.notesAt())...)
	notesStart := len(dst)
	dst = table.appendNote(dst)
	for _, n := range notes {
		if n.Type != NoteAttributes { // of a block that is copied: the table was made anew
			dst = appendNotes(dst, []Note{n})
		}
	}
	h.notesLen, h.notesCRC = uint32(len(dst)-notesStart), saltedCRC(salt, dst[notesStart:])
	for i := range h.runs {
		r := &h.runs[i]
		at := len(dst)
		dst = appendRun(dst, r, h.time, recs[r.first:r.first+r.count], &table)
		r.offset, r.crc = uint32(at-start), saltedCRC(salt, dst[at:])
	}
	padded := (len(dst) - start + blockAlign - 1) &^ (blockAlign - 1)
	if padded > MaxBlock {
		panic(fmt.Sprintf("BUG: a block of %d bytes: nobody could read it", padded))
	}
	dst = append(dst, make([]byte, padded-(len(dst)-start))...)
	h.length = uint32(padded)
	h.put(dst[start:], salt)
	return dst
}

// splitRuns makes a run of each stretch of records of one shard.
func splitRuns(runs []shardRun, recs []hydrant.Record) []shardRun {
	for i := range recs {
		if n := len(runs); n > 0 && runs[n-1].shard == recs[i].Shard {
			runs[n-1].count++
			continue
		}
		if n := len(runs); n == math.MaxUint16 || n > 0 && runs[n-1].shard > recs[i].Shard {
			panic("BUG: the records of a block are not sorted by shard, or of more than 65535 shards: nobody could read it")
		}
		runs = append(runs, shardRun{shard: recs[i].Shard, count: 1, first: uint32(i)})
	}
	return runs
}

// put writes head and directory to the front of b, and sets h.crc.
func (h *head) put(b []byte, salt *[16]byte) {
	le := binary.LittleEndian
	copy(b, blockMagic)
	le.PutUint32(b[8:], h.length)
	b[12], b[13] = h.kind, 0
	le.PutUint16(b[14:], uint16(len(h.runs)))
	le.PutUint64(b[16:], uint64(h.base))
	le.PutUint32(b[24:], h.count)
	le.PutUint32(b[28:], h.notesLen)
	le.PutUint64(b[32:], uint64(h.time))
	le.PutUint64(b[40:], uint64(h.wall))
	copy(b[48:52], h.run[:])
	le.PutUint32(b[52:], h.seq)
	le.PutUint32(b[56:], h.notesCRC)
	le.PutUint32(b[60:], h.prev)
	for i := range h.runs {
		r, d := &h.runs[i], b[headLen+i*runLen:]
		for j, v := range [...]uint32{r.shard, r.count, r.first, r.offset, r.metaLen, r.dataLen, r.crc, r.flags} {
			le.PutUint32(d[4*j:], v)
		}
	}
	h.crc = saltedCRC(salt, b[8:h.notesAt()])
	le.PutUint32(b[4:], h.crc)
}

// directoryLen reads from the first 64 bytes of a block how many bytes the directory behind them has. Nothing is
// verified but the magic.
func directoryLen(b []byte) (int, error) {
	if len(b) < headLen || string(b[:4]) != blockMagic {
		return 0, fmt.Errorf("%w: no block begins here", errNoBlock)
	}
	return int(binary.LittleEndian.Uint16(b[14:])) * runLen, nil
}

// parseHead reads and verifies head and directory, which are the front of b. Errors: ErrNewerFormat, or errNoBlock with
// the reason.
func parseHead(b []byte, salt *[16]byte) (head, error) {
	n, err := directoryLen(b)
	if err != nil {
		return head{}, err
	}
	if len(b) < headLen+n {
		return head{}, fmt.Errorf("%w: directory of %d bytes, %d are there", errNoBlock, n, len(b)-headLen)
	}
	le := binary.LittleEndian
	want := le.Uint32(b[4:])
	if got := saltedCRC(salt, b[8:headLen+n]); differs(got, want) {
		return head{}, fmt.Errorf("%w: head crc %08x, want %08x", errNoBlock, got, want)
	}
	return readHead(b[:headLen+n])
}

// readHead takes head and directory apart; the checksum is the caller's affair. Every count and offset is checked.
func readHead(b []byte) (head, error) {
	le := binary.LittleEndian
	h := head{
		kind: b[12], base: hydrant.Position(le.Uint64(b[16:])), count: le.Uint32(b[24:]),
		time: int64(le.Uint64(b[32:])), wall: int64(le.Uint64(b[40:])), run: hydrant.RunID(b[48:52]),
		seq: le.Uint32(b[52:]), prev: le.Uint32(b[60:]), length: le.Uint32(b[8:]),
		notesLen: le.Uint32(b[28:]), notesCRC: le.Uint32(b[56:]), crc: le.Uint32(b[4:]),
	}
	switch {
	case h.kind == 0 || h.kind > kindCheckpoint:
		return head{}, fmt.Errorf("%w: block of kind %d", ErrNewerFormat, h.kind)
	case b[13] != 0:
		return head{}, fmt.Errorf("%w: block with the flags %#x", ErrNewerFormat, b[13])
	case h.length == 0 || h.length%blockAlign != 0 || h.length > MaxBlock:
		return head{}, fmt.Errorf("%w: length %d", errNoBlock, h.length)
	case h.base == 0 || uint64(h.base) > math.MaxUint64-uint64(h.count):
		return head{}, fmt.Errorf("%w: base position %d with %d records", errNoBlock, h.base, h.count)
	}
	if n := (len(b) - headLen) / runLen; n > 0 {
		h.runs = make([]shardRun, n)
	}
	at, count := uint64(len(b))+uint64(h.notesLen), uint64(0)
	for i := range h.runs {
		d := b[headLen+i*runLen:]
		r := shardRun{
			shard: le.Uint32(d), count: le.Uint32(d[4:]), first: le.Uint32(d[8:]), offset: le.Uint32(d[12:]),
			metaLen: le.Uint32(d[16:]), dataLen: le.Uint32(d[20:]), crc: le.Uint32(d[24:]), flags: le.Uint32(d[28:]),
		}
		switch {
		case r.flags&runUnknown != 0:
			return head{}, fmt.Errorf("%w: records with the features %#x", ErrNewerFormat, r.flags&runUnknown)
		case r.count == 0, uint64(r.first) != count, uint64(r.offset) != at, uint64(r.dataLen) < 4*uint64(r.count),
			i > 0 && h.runs[i-1].shard >= r.shard:
			return head{}, fmt.Errorf("%w: run %d does not follow on from the one before", errNoBlock, i)
		}
		at += uint64(r.metaLen) + uint64(r.dataLen)
		count += uint64(r.count)
		h.runs[i] = r
	}
	if at > uint64(h.length) || count != uint64(h.count) {
		return head{}, fmt.Errorf("%w: %d bytes and %d records in the directory, %d and %d in the head", errNoBlock, at, count, h.length, h.count)
	}
	return h, nil
}

// checkNotes verifies b, the notes as they are stored.
func (h *head) checkNotes(b []byte, salt *[16]byte) error {
	if len(b) != int(h.notesLen) {
		return fmt.Errorf("%w: notes of %d bytes, want %d", errNoBlock, len(b), h.notesLen)
	}
	if got := saltedCRC(salt, b); differs(got, h.notesCRC) {
		return fmt.Errorf("%w: notes crc %08x, want %08x", errNoBlock, got, h.notesCRC)
	}
	return nil
}

// checkRun verifies b, the run as it is stored: meta and data.
func (h *head) checkRun(r *shardRun, b []byte, salt *[16]byte) error {
	if len(b) != r.stored() {
		return fmt.Errorf("%w: run of %d bytes, want %d", errNoBlock, len(b), r.stored())
	}
	if got := saltedCRC(salt, b); differs(got, r.crc) {
		return fmt.Errorf("%w: run crc %08x, want %08x", errNoBlock, got, r.crc)
	}
	return nil
}

// cutRun calls visit with the length of each record of a run, without making records of them. visit ends it by false.
func cutRun(r *shardRun, b []byte, visit func(i uint32, length int) bool) error {
	if len(b) != r.stored() {
		return fmt.Errorf("%w: run of %d bytes, want %d", errNoBlock, len(b), r.stored())
	}
	data := b[r.metaLen:]
	for i := range r.count {
		if len(data) < 4 {
			return errShortRun
		}
		n := uint64(binary.LittleEndian.Uint32(data))
		if n > uint64(len(data)-4) {
			return errShortRun
		}
		if !visit(i, int(n)) {
			return nil
		}
		data = data[4+n:]
	}
	if len(data) > 0 {
		return errShortRun
	}
	return nil
}
