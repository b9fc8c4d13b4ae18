package delivery

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// VerifySpool checks offline what a stream's deliveries have spooled: that each file which a Ready or an Outcome names is there
// with its length and its sum, until the Done of its batch. It writes to out a line for each that is not, for each journal whose
// entries contradict each other, and for each spool that holds a batch, and changes nothing. Journals that do not verify are
// for buffer.Verify to name. An error: it could not be looked at.
func VerifySpool(fsys hydrant.FS, streamDir string, out io.Writer) (damaged int, err error) {
	journals, err := buffer.Journals(fsys, streamDir)
	if err != nil {
		return 0, err
	}
	for _, j := range journals {
		n, err := verifySpool(fsys, filepath.Join(streamDir, "spool", j.Cursor), j, out)
		damaged += n
		if err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

func verifySpool(fsys hydrant.FS, dir string, j buffer.Journal, out io.Writer) (damaged int, err error) {
	if len(j.Entries) == 0 {
		return 0, nil
	}
	state, err := replay(j.Committed, j.Entries)
	if errors.Is(err, buffer.ErrNewerFormat) {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	if err != nil {
		_, werr := fmt.Fprintf(out, "%s: journal: %v\n", dir, err)
		return 1, werr
	}
	spool := &spool{fs: fsys, dir: dir}
	files, size := 0, int64(0)
	for _, b := range state.open {
		if b.done != nil {
			continue
		}
		outputs := b.ready.outputs
		if b.outcome != nil {
			outputs = append(outputs[:len(outputs):len(outputs)], b.outcome.outputs...)
		}
		for _, o := range outputs {
			files, size = files+1, size+o.Size
			// What cannot be read cannot be sent either.
			if err := spool.verify(b.ready.batch, o.Output); err != nil {
				damaged++
				if _, err := fmt.Fprintf(out, "%s: batch %d, positions %s: %v\n", dir, b.ready.batch, b.ready.span, err); err != nil {
					return damaged, err
				}
			}
		}
	}
	if state.ready() == 0 {
		return damaged, nil
	}
	verdict := "sound"
	if damaged > 0 {
		verdict = fmt.Sprintf("%d files damaged", damaged)
	}
	_, err = fmt.Fprintf(out, "%s: %d batches, %d files of %d bytes: %s\n", dir, state.ready(), files, size, verdict)
	return damaged, err
}
