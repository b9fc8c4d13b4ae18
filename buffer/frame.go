package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/hydrantd/hydrant"
)

// A frame is one durable write to a journal. It begins at a multiple of 64 bytes:
//
//	0   u32 crc         CRC32C(salt ‖ bytes 4 to the end), padding not included
//	4   u32 length      from the crc to the end of the last entry
//	8   u64 seq         counts up by one within a file
//	16  u64 committed
//	24  u16 entries     their number, manyEntries for that many or more; then for each: type u8, length u32, bytes
//	    zeros to a multiple of 64
const (
	frameAlign   = 64
	frameHeadLen = 26
	entryHeadLen = 5
	manyEntries  = math.MaxUint16 // and more: as many as fill the frame
)

type frame struct {
	seq       uint64
	committed hydrant.Position
	entries   []Entry // their bodies alias what was parsed
}

// errNoFrame: the bytes are not a frame, or one that did not reach the disk whole. What that means depends on what lies behind.
var errNoFrame = errors.New("no valid frame")

// frameSize is how many bytes a frame with these entries takes, padding included.
func frameSize(entries []Entry) int {
	n := frameHeadLen
	for _, e := range entries {
		n += entryHeadLen + len(e.Body)
	}
	return (n + frameAlign - 1) &^ (frameAlign - 1)
}

// appendFrame appends a frame, padded, to dst.
func appendFrame(dst []byte, salt *[16]byte, seq uint64, committed hydrant.Position, entries []Entry) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(committed))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(min(len(entries), manyEntries)))
	for _, e := range entries {
		dst = append(dst, e.Type)
		dst = appendString(dst, e.Body)
	}
	binary.LittleEndian.PutUint32(dst[at+4:], uint32(len(dst)-at))
	binary.LittleEndian.PutUint32(dst[at:], saltedCRC(salt, dst[at+4:]))
	return append(dst, make([]byte, frameSize(entries)-(len(dst)-at))...)
}

// parseFrame reads the frame at the front of b, and says how many bytes it takes there with its padding.
func parseFrame(b []byte, salt *[16]byte) (f frame, n int, err error) {
	if len(b) < frameHeadLen {
		return frame{}, 0, fmt.Errorf("%w: %d bytes left", errNoFrame, len(b))
	}
	length := uint64(binary.LittleEndian.Uint32(b[4:]))
	if length < frameHeadLen || length > uint64(len(b)) {
		return frame{}, 0, fmt.Errorf("%w: length %d", errNoFrame, length)
	}
	want := binary.LittleEndian.Uint32(b)
	if got := saltedCRC(salt, b[4:length]); differs(got, want) {
		return frame{}, 0, fmt.Errorf("%w: crc %08x, want %08x", errNoFrame, got, want)
	}
	in := fields{b: b[8:length]}
	f.seq, f.committed = in.u64(), hydrant.Position(in.u64())
	count := int(in.u16())
	if count*entryHeadLen > len(in.b) {
		return frame{}, 0, fmt.Errorf("%w: %d entries in %d bytes", errNoFrame, count, len(in.b))
	}
	f.entries = make([]Entry, 0, count)
	for len(f.entries) < count || count == manyEntries && len(in.b) > 0 {
		f.entries = append(f.entries, Entry{Type: in.u8(), Body: in.bytes()})
	}
	if in.short || len(in.b) > 0 {
		return frame{}, 0, fmt.Errorf("%w: the entries do not fill it", errNoFrame)
	}
	return f, min(int(length+frameAlign-1)&^(frameAlign-1), len(b)), nil
}
