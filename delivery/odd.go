package delivery

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hydrantd/hydrant"
)

// The odd positions of a batch are those that are not one record to be delivered: left out (refused before sending,
// dropped, damaged) or split by a function. A target that refuses, or a batch that is given up, must not settle them a
// second time, also after a crash: so they lie in a file of the batch, named in Ready with role 2.
//
//	{ gap uvarint, run uvarint, parts uvarint } …
//	gap positions that are not odd, then run positions that became parts each; 0 parts: left out
const oddFile = "odd"

// oddWriter writes the file; a batch without odd positions has none.
type oddWriter struct {
	folder *folder
	file   *spoolFile
	next   hydrant.Position // behind what is in the file
	from   hydrant.Position // the run being collected
	run    uint64
	parts  uint64
}

// note adds n positions from pos on, which is behind everything noted before.
func (o *oddWriter) note(pos hydrant.Position, n int64, parts int) error {
	if o.run > 0 && o.from+hydrant.Position(o.run) == pos && o.parts == uint64(parts) {
		o.run += uint64(n)
		return nil
	}
	if err := o.put(); err != nil {
		return err
	}
	o.from, o.run, o.parts = pos, uint64(n), uint64(parts)
	return nil
}

func (o *oddWriter) put() (err error) {
	if o.run == 0 {
		return nil
	}
	if o.file == nil {
		if o.file, err = o.folder.create(oddFile); err != nil {
			return err
		}
	}
	b := binary.AppendUvarint(nil, uint64(o.from-o.next))
	b = binary.AppendUvarint(b, o.run)
	b = binary.AppendUvarint(b, o.parts)
	o.next = o.from + hydrant.Position(o.run)
	_, err = o.file.Write(b)
	return err
}

// finish ends the file.
func (o *oddWriter) finish() ([]output, error) {
	if err := o.put(); err != nil || o.file == nil {
		return nil, err
	}
	out := output{role: roleOdd}
	out.File = oddFile
	return []output{out}, o.file.Close()
}

// oddReader answers for rising positions. The zero value knows no odd one.
type oddReader struct {
	in       *bufio.Reader
	from, to hydrant.Position // the run at hand
	parts    uint64
}

func readOdd(f io.ReaderAt, size int64, start hydrant.Position) *oddReader {
	return &oddReader{in: bufio.NewReader(io.NewSectionReader(f, 0, size)), from: start, to: start}
}

// at tells whether pos is odd, and how many parts it became.
func (o *oddReader) at(pos hydrant.Position) (odd bool, parts uint64, err error) {
	for o.in != nil && o.to <= pos {
		gap, err := binary.ReadUvarint(o.in)
		if errors.Is(err, io.EOF) {
			o.in = nil
			break
		}
		run, err1 := binary.ReadUvarint(o.in)
		parts, err2 := binary.ReadUvarint(o.in)
		if err := errors.Join(err, err1, err2); err != nil {
			return false, 0, fmt.Errorf("%s: behind position %d: %w", oddFile, o.to, err)
		}
		o.from = o.to + hydrant.Position(gap)
		o.to = o.from + hydrant.Position(run)
		o.parts = parts
	}
	if pos < o.from || pos >= o.to {
		return false, 1, nil
	}
	return true, o.parts, nil
}
