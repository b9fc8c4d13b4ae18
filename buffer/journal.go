package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hydrantd/hydrant"
)

// journal is what the two files of a cursor hold.
type journal struct {
	journalPlace
	committed hydrant.Position
	entries   []Entry
}

// entryReady is the one type of entry that the log understands: see FORMAT.md, "Delivery journal entries".
const entryReady = 2

// reach is how far the log went when the journal was written: what is committed, and what batches that are Ready cover. All of
// it was durable, because nobody reads what is not (I4).
func (j *journal) reach() hydrant.Position {
	to := j.committed
	for _, e := range j.entries {
		if e.Type != entryReady {
			continue
		}
		f := fields{b: e.Body}
		_, _, _ = f.u64(), f.take(4), f.u64() // batch, run, from
		to = max(to, hydrant.Position(f.u64()))
	}
	return to
}

// readJournal reads a cursor without changing anything. Errors: fs.ErrNotExist, ErrNewerFormat, a *DamagedCursor; with the
// last one, committed is as far as can be proved.
func readJournal(fsys hydrant.FS, dir, name string, log hydrant.LogID) (journal, error) {
	var found journal
	var exists [2]bool
	var both int64
	var damage error
	for which, suffix := range journalSuffixes {
		b, err := readWhole(fsys, filepath.Join(dir, name+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return journal{}, err
		}
		exists[which] = true
		if n := int64(len(b)); both == 0 || n < both {
			both = n
		}
		j, err := parseJournal(b, name+suffix, log)
		if errors.Is(err, ErrNewerFormat) {
			return journal{}, err
		}
		if j.generation > found.generation {
			found, damage = j, err
			found.which = which
		} else if found.generation == 0 && err != nil {
			damage = err
		}
	}
	found.exists, found.both = exists, both
	switch {
	case found.generation > 0 || damage != nil:
		return found, damage
	case exists[0]:
		return found, &DamagedCursor{name + journalSuffixes[0], 0, "both files of the journal are blank"}
	}
	return found, fmt.Errorf("%s: %w", filepath.Join(dir, name+journalSuffixes[0]), fs.ErrNotExist)
}

// parseJournal reads one of the files. generation is 0 when it does not count: it is blank, or what it was rewritten with
// did not reach the disk, or it cannot be read.
func parseJournal(b []byte, name string, log hydrant.LogID) (journal, error) {
	if len(b) >= fileHeaderLen && !slices.ContainsFunc(b[:fileHeaderLen], func(c byte) bool { return c != 0 }) {
		return journal{}, nil
	}
	h, err := parseCursorHeader(b)
	if errors.Is(err, ErrNewerFormat) {
		return journal{}, fmt.Errorf("%s: %w", name, err)
	}
	if err != nil {
		return journal{}, &DamagedCursor{name, 0, err.Error()}
	}
	if h.log != log {
		return journal{}, &DamagedCursor{name, 0, fmt.Sprintf("belongs to log %s, not to %s", h.log, log)}
	}
	j := journal{journalPlace: journalPlace{generation: h.generation, salt: h.salt, size: int64(len(b))}}
	at := fileHeaderLen
	for at < len(b) {
		f, n, err := parseFrame(b[at:], &h.salt)
		if err != nil || f.seq != j.seq+1 {
			break
		}
		j.seq, j.committed = f.seq, f.committed
		for _, e := range f.entries {
			j.entries = append(j.entries, Entry{e.Type, bytes.Clone(e.Body)})
		}
		at += n
	}
	if j.seq == 0 {
		// The first frame is synced together with the header: without it the file never counted.
		return journal{}, &DamagedCursor{name, fileHeaderLen, "its first frame does not verify"}
	}
	j.at, j.seq = int64(at), j.seq+1
	// A frame is written only after the one before is durable. So a valid one behind proves that this is no torn end.
	for behind := at + frameAlign; behind < len(b); behind += frameAlign {
		if f, _, err := parseFrame(b[behind:], &h.salt); err == nil && f.seq > j.seq {
			return j, &DamagedCursor{name, int64(at), fmt.Sprintf("frame %d does not verify, frame %d behind it does", j.seq, f.seq)}
		}
	}
	return j, nil
}

func readWhole(fsys hydrant.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b := make([]byte, size)
	err = readFull(f, b, 0)
	return b, errors.Join(err, f.Close())
}

// cursorNames lists the cursors in a directory, and the temporary files that creating one left.
func cursorNames(fsys hydrant.FS, dir string) (names, temps []string, err error) {
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), tempSuffix) {
			temps = append(temps, e.Name())
			continue
		}
		for _, suffix := range journalSuffixes {
			if name, ok := strings.CutSuffix(e.Name(), suffix); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, temps, nil
}

// Forget removes a cursor and its reserve from streams/<name>, offline: what only it held back may go. The older of the
// two files goes first, so that a crash in between leaves the cursor as it was.
func Forget(fsys hydrant.FS, dir, name string) error {
	dir = filepath.Join(dir, "cursors")
	names, _, err := cursorNames(fsys, dir)
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("%s: no cursor %s, there are: %s", dir, name, strings.Join(names, ", "))
	}
	order := []string{reserveSuffix, journalSuffixes[0], journalSuffixes[1]}
	if inUse(fsys, dir, name) == 0 {
		order[1], order[2] = order[2], order[1]
	}
	for _, suffix := range order {
		if err := fsys.Remove(filepath.Join(dir, name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return hydrant.SyncDir(fsys, dir, hydrant.PointCursorFile)
}

// inUse says which of the two files has the higher generation.
func inUse(fsys hydrant.FS, dir, name string) int {
	var generation [2]uint64
	for which, suffix := range journalSuffixes {
		b, err := readWhole(fsys, filepath.Join(dir, name+suffix))
		if err != nil {
			continue
		}
		if h, err := parseCursorHeader(b); err == nil {
			generation[which] = h.generation
		}
	}
	if generation[1] > generation[0] {
		return 1
	}
	return 0
}
