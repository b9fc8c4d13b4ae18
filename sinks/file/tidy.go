package file

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// Temporary files lie in the target itself, whatever folders the prefix makes, so that they can be found again:
//
//	.hydrant-<pipeline>~<destination>~<log>-<run>-<from>-<8 random digits>.tmp
//
// No object begins with a dot unless its prefix does, and none ends in .tmp.
const (
	tempHead = ".hydrant-"
	tempTail = ".tmp"
)

func (f *folder) tempName(s *sinks.Shipment, o sinks.Output) (string, error) {
	var b [4]byte
	if _, err := io.ReadFull(f.rand, b[:]); err != nil {
		return "", err
	}
	return filepath.Join(o.Target, fmt.Sprintf("%s%s~%s-%s-%d-%s%s", tempHead, f.owner, s.Log, s.Run, s.From, hex.EncodeToString(b[:]), tempTail)), nil
}

// tidy readies a target and one of its folders for a file: what is left of earlier processes is gone, and the way down to
// the folder is durable. Each is done once in a process.
func (f *folder) tidy(ctx context.Context, dir, target string) error {
	if swept, settled := f.known(dir, target); swept && settled {
		return nil
	}
	if err := f.tidying.Take(ctx, f.clock); err != nil {
		return err
	}
	defer f.tidying.Give()
	swept, settled := f.known(dir, target)
	if !swept {
		if err := f.sweep(target); err != nil {
			return sinks.Unsent(err)
		}
	}
	if !settled {
		if err := f.settle(dir, target); err != nil {
			return sinks.Unsent(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.settled) >= maxSettled {
		clear(f.settled)
	}
	f.swept[target], f.settled[target], f.settled[dir] = true, true, true
	return nil
}

// maxSettled bounds what is remembered of folders: random prefixes make one for each batch.
const maxSettled = 4096

func (f *folder) known(dir, target string) (swept, settled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.swept[target], f.settled[dir]
}

// forget makes the next attempt look after a folder again: somebody may have removed it.
func (f *folder) forget(dir, target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.settled, dir)
	delete(f.settled, target)
}

// sweep removes this delivery's stale temporaries from a target, before anything is written there. Should another daemon
// with the same names be writing there, it finds its file gone and writes it again.
func (f *folder) sweep(target string) error {
	entries, err := f.fs.ReadDir(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, tempHead+f.owner+"~") && strings.HasSuffix(name, tempTail) {
			if err := f.fs.Remove(filepath.Join(target, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// settle makes dir and all above it, and makes their names durable: also those that were there already, since who made
// them may have crashed before that.
func (f *folder) settle(dir, target string) error {
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		there, err := f.there(at)
		if err != nil {
			return err
		}
		if there || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
	}
	err := f.fs.MkdirAll(dir)
	if err == nil {
		err = f.syncUp(dir, target)
	}
	if err != nil {
		// A sync that failed may have dropped the new names, and the next would not tell: so they are made anew then.
		for _, made := range missing {
			_ = f.fs.Remove(made)
		}
	}
	return err
}

func (f *folder) there(dir string) (bool, error) {
	d, err := f.fs.Open(dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, d.Close()
}

// syncUp makes the names of dir and of the folders above it durable. Above the target nobody knows which of them are ours
// (data_dir/errors is): all are synced, once in a process, up to one that we may not sync, which is somebody else's and
// was there long before us.
func (f *folder) syncUp(dir, target string) error {
	_, known := f.known(target, target)
	for at := dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		above := len(at) <= len(target)
		if above && known {
			return nil
		}
		err := hydrant.SyncDir(f.fs, filepath.Dir(at), hydrant.PointTargetDir)
		if above && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
