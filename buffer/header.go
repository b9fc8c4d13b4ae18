package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/hydrantd/hydrant"
)

// Both kinds of files begin with 512 bytes that are alike in the first ten and the last four:
//
//	0     8 magic            10    … what the kind needs
//	8   u16 format version   508 u32 CRC32C of bytes 0–507, not salted
//
// Magic, version and CRC stay where they are in all versions to come, so that a newer file is never called damaged.
const (
	fileHeaderLen = 512
	fileCRCAt     = 508
	formatVersion = 1

	segmentMagic = "HYDRLOG1"
	cursorMagic  = "HYDRCUR1"
)

// errForeign: the file is not of the kind asked for, or its header is damaged beyond mending.
var errForeign = errors.New("no valid header")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// saltedCRC is the CRC32C of the salt and then the parts.
func saltedCRC(salt *[16]byte, parts ...[]byte) uint32 {
	crc := crc32.Checksum(salt[:], castagnoli)
	for _, p := range parts {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return crc
}

// differs compares two checksums (I5).
func differs(got, want uint32) bool { return got != want && !hydrant.Sabotaged(hydrant.RuleCheckCRC) }

// segmentHeader is the beginning of a segment:
//
//	0     8 "HYDRLOG1"         32  16 salt                      84 u32 features that a reader must know
//	8   u16 version            48 u64 base position             88 u32 features that it may ignore
//	10   u8 align shift (9)    56 i64 created, running time     92   … zero
//	11   u8 cipher             64  16 key id, 0 = plain        508 u32 CRC32C of 0–507
//	12    4 run id             80 u32 number of the opening
//	16   10 log id, 6 zero
type segmentHeader struct {
	run       hydrant.RunID
	log       hydrant.LogID
	salt      [16]byte
	base      hydrant.Position
	created   int64
	opening   uint32
	must, may uint32

	cipher uint8    // 0 = plain, 1 = AES-256-GCM
	keyID  [16]byte // zero when plain
	mended bool     // found with one bit flipped, which was put right
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, fileHeaderLen)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint16(b[8:], formatVersion)
	b[10], b[11] = blockShift, h.cipher
	copy(b[12:16], h.run[:])
	copy(b[16:26], h.log[:])
	copy(b[32:48], h.salt[:])
	binary.LittleEndian.PutUint64(b[48:], uint64(h.base))
	binary.LittleEndian.PutUint64(b[56:], uint64(h.created))
	copy(b[64:80], h.keyID[:])
	binary.LittleEndian.PutUint32(b[80:], h.opening)
	binary.LittleEndian.PutUint32(b[84:], h.must)
	binary.LittleEndian.PutUint32(b[88:], h.may)
	return sealHeader(b)
}

// parseSegmentHeader reads the first 512 bytes of a segment. Errors: ErrNewerFormat, which names what is newer;
// anything else means that this is no segment, or one whose header is damaged.
func parseSegmentHeader(b []byte) (segmentHeader, error) {
	b, mended, err := openHeader(b, segmentMagic)
	if err != nil {
		return segmentHeader{}, err
	}
	h := segmentHeader{
		run: hydrant.RunID(b[12:16]), log: hydrant.LogID(b[16:26]), salt: [16]byte(b[32:48]),
		base:    hydrant.Position(binary.LittleEndian.Uint64(b[48:])),
		created: int64(binary.LittleEndian.Uint64(b[56:])),
		opening: binary.LittleEndian.Uint32(b[80:]),
		must:    binary.LittleEndian.Uint32(b[84:]), may: binary.LittleEndian.Uint32(b[88:]),
		cipher: b[11], keyID: [16]byte(b[64:80]), mended: mended,
	}
	switch {
	case h.must != 0:
		return h, fmt.Errorf("%w: segment with the features %#x, this one knows none", ErrNewerFormat, h.must)
	case h.cipher != 0:
		return h, fmt.Errorf("%w: encrypted segment (cipher %d)", ErrNewerFormat, h.cipher)
	case b[10] != blockShift:
		return h, fmt.Errorf("%w: blocks aligned at 2^%d bytes, this one knows 2^%d", ErrNewerFormat, b[10], blockShift)
	case h.base == 0:
		return h, fmt.Errorf("%w: base position 0", errForeign)
	}
	return h, nil
}

// cursorHeader is the beginning of a journal file:
//
//	0     8 "HYDRCUR1"       24  16 salt                 50   6 zero
//	8   u16 version          40  10 log id               56 u32 features that a reader must know
//	10    6 zero                                         60 u32 features that it may ignore
//	16  u64 generation                                   64   … zero, and 508 u32 CRC32C of 0–507
type cursorHeader struct {
	generation uint64 // the valid file with the higher one counts
	salt       [16]byte
	log        hydrant.LogID
	must, may  uint32
}

func (h *cursorHeader) encode() []byte {
	b := make([]byte, fileHeaderLen)
	copy(b, cursorMagic)
	binary.LittleEndian.PutUint16(b[8:], formatVersion)
	binary.LittleEndian.PutUint64(b[16:], h.generation)
	copy(b[24:40], h.salt[:])
	copy(b[40:50], h.log[:])
	binary.LittleEndian.PutUint32(b[56:], h.must)
	binary.LittleEndian.PutUint32(b[60:], h.may)
	return sealHeader(b)
}

// parseCursorHeader reads the first 512 bytes of a journal file. Errors are as parseSegmentHeader's.
func parseCursorHeader(b []byte) (cursorHeader, error) {
	b, _, err := openHeader(b, cursorMagic)
	if err != nil {
		return cursorHeader{}, err
	}
	h := cursorHeader{
		generation: binary.LittleEndian.Uint64(b[16:]), salt: [16]byte(b[24:40]), log: hydrant.LogID(b[40:50]),
		must: binary.LittleEndian.Uint32(b[56:]), may: binary.LittleEndian.Uint32(b[60:]),
	}
	if h.must != 0 {
		return h, fmt.Errorf("%w: journal with the features %#x, this one knows none", ErrNewerFormat, h.must)
	}
	return h, nil
}

func sealHeader(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[fileCRCAt:], crc32.Checksum(b[:fileCRCAt], castagnoli))
	return b
}

// openHeader verifies what both kinds have in common, and puts one flipped bit right.
func openHeader(b []byte, magic string) (header []byte, mended bool, err error) {
	if len(b) < fileHeaderLen {
		return nil, false, fmt.Errorf("%w: %d bytes, want %d", errForeign, len(b), fileHeaderLen)
	}
	b = b[:fileHeaderLen]
	want := binary.LittleEndian.Uint32(b[fileCRCAt:])
	if got := crc32.Checksum(b[:fileCRCAt], castagnoli); differs(got, want) {
		if b = mend(b, magic); b == nil {
			return nil, false, fmt.Errorf("%w: crc %08x, want %08x", errForeign, got, want)
		}
		mended = true
	}
	if string(b[:8]) != magic {
		return nil, false, fmt.Errorf("%w: begins with %q, want %q", errForeign, b[:8], magic)
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v > formatVersion {
		return nil, false, fmt.Errorf("%w: format version %d, this one knows %d", ErrNewerFormat, v, formatVersion)
	} else if v == 0 {
		return nil, false, fmt.Errorf("%w: format version 0", errForeign)
	}
	return b, mended, nil
}

// mend finds the one bit whose flipping makes the header valid, or returns nil. CRC32C tells any five flipped bits in so few
// bytes, so that another header cannot be meant.
func mend(b []byte, magic string) []byte {
	wrong := 0
	for i := range magic {
		if b[i] != magic[i] {
			wrong++
		}
	}
	if wrong > 1 {
		return nil
	}
	b = slices.Clone(b)
	for bit := range fileHeaderLen * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if string(b[:8]) == magic && crc32.Checksum(b[:fileCRCAt], castagnoli) == binary.LittleEndian.Uint32(b[fileCRCAt:]) {
			return b
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	return nil
}
