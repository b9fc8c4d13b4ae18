package buffer

import (
	"encoding/binary"
	"fmt"
)

// fields takes little-endian fields off the front of a body. What is missing reads as zero, and end tells of it.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.short, f.b = true, nil
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) u8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (f *fields) i64() int64 { return int64(f.u64()) }

// bytes takes a u32 length and as many bytes; they are not copied.
func (f *fields) bytes() []byte { return f.take(int(f.u32())) }

// into fills dst.
func (f *fields) into(dst []byte) { copy(dst, f.take(len(dst))) }

// count takes a u32 number of things that have at least size bytes each, so that it can be trusted for allocating.
func (f *fields) count(size int) int {
	n := f.u32()
	if uint64(n)*uint64(size) > uint64(len(f.b)) {
		f.short = true
		return 0
	}
	return int(n)
}

func (f *fields) totals() Totals { return Totals{Records: f.i64(), Bytes: f.i64()} }

// end says whether everything was there. Bytes left over are additions of later versions.
func (f *fields) end(what string) error {
	if f.short {
		return fmt.Errorf("%s: ends before its last field", what)
	}
	return nil
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendTotals(b []byte, t Totals) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Records))
	return binary.LittleEndian.AppendUint64(b, uint64(t.Bytes))
}
