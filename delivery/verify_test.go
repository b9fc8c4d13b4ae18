package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

func flipped(path string) error {
	b, err := os.ReadFile(path)
	b[3] ^= 1
	return errors.Join(err, os.WriteFile(path, b, 0o600))
}

func TestVerifyNamesEachSpooledFileThatIsNotAsItWas(t *testing.T) {
	const records1 = "1/records.lines"
	down := func(int, *sinks.Shipment) error { return errRefused }
	tests := []struct {
		name   string
		lose   bool // the target takes all but one record, the error output nothing
		damage func(dir string) error
		want   []string // the places, each with what is found there
	}{
		{"sound", false, func(string) error { return nil }, nil},
		{"a flipped byte", false, func(dir string) error { return flipped(filepath.Join(dir, records1)) }, []string{records1 + ": crc "}},
		{"a file that is cut off", false, func(dir string) error { return os.Truncate(filepath.Join(dir, records1), 7) }, []string{records1 + ": 7 bytes, want "}},
		{"a file that is gone", false, func(dir string) error { return os.Remove(filepath.Join(dir, records1)) }, []string{records1 + ": missing, want "}},
		{"a spool that is gone", false, os.RemoveAll, []string{records1 + ": missing", "2/records.lines: missing"}},
		{"a sound outcome", true, func(string) error { return nil }, nil},
		{"an error file", true, func(dir string) error {
			all, err := filepath.Glob(filepath.Join(dir, "1", "*"))
			for _, name := range all {
				if filepath.Base(name) != "records.lines" {
					err = errors.Join(err, flipped(name))
				}
			}
			return err
		}, []string{"1/"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) {
				o.Concurrency = 2
				o.Dir = filepath.Join(filepath.Dir(filepath.Dir(o.Dir)), "streams", "app", "spool", "archive")
			}, func(r *rig) {
				want := numbered(20, 100)
				batches := 2
				if tt.lose {
					want, batches = want[:10], 1
					r.errs.fail(down)
					r.target.refuse = func(data string) *sinks.Refusal {
						if data == want[4] {
							return &sinks.Refusal{Code: "Mapping", Message: "no such field"}
						}
						return nil
					}
				} else {
					r.target.fail(down)
				}
				r.append(want...)
				r.start()
				r.pass(minutes)
				r.kill()
				if err := tt.damage(r.o.Dir); err != nil {
					t.Fatal(err)
				}
				stream := filepath.Join(r.dir, "streams", "app")
				var out bytes.Buffer
				n, err := VerifySpool(hydrant.OS{}, stream, &out)
				if err != nil || n != len(tt.want) {
					t.Errorf("%d damaged, %v, want %d:\n%s", n, err, len(tt.want), &out)
				}
				for _, place := range tt.want {
					if !strings.Contains(out.String(), ": batch "+place[:1]+", positions ") || !strings.Contains(out.String(), filepath.Join(r.o.Dir, place)) {
						t.Errorf("%q is not named:\n%s", place, &out)
					}
				}
				verdict := "sound"
				if n > 0 {
					verdict = fmt.Sprintf("%d files damaged", n)
				}
				if lines := strings.Split(out.String(), "\n"); len(lines) != n+2 || !strings.HasPrefix(lines[n], fmt.Sprintf("%s: %d batches, ", r.o.Dir, batches)) || !strings.HasSuffix(lines[n], ": "+verdict) {
					t.Errorf("want a line for each and one for the spool:\n%s", &out)
				}
			})
		})
	}
}

func TestVerifySaysNothingOfWhatIsDone(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		r.append(numbered(30, 100)...)
		r.drained()
		var out bytes.Buffer
		if n, err := VerifySpool(hydrant.OS{}, filepath.Join(r.dir, "streams", "app"), &out); n != 0 || err != nil || out.Len() > 0 {
			t.Errorf("%d damaged, %v:\n%s", n, err, &out)
		}
	})
}

func TestVerifyOfAJournalThatContradictsItself(t *testing.T) {
	tests := []struct {
		name  string
		entry buffer.Entry
		newer bool
	}{
		{"a Done of a batch that never was Ready", done{batch: 99}.entry(), false},
		{"an entry of a newer version", buffer.Entry{Type: 77}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, nil, func(r *rig) {
				r.append("a")
				r.drained()
				c, err := r.log.Cursor("archive", buffer.Oldest)
				if err != nil {
					t.Fatal(err)
				}
				err = c.Write(hydrant.PointDone, c.Committed(), []buffer.Entry{tt.entry}, func() []buffer.Entry { return nil })
				if err := errors.Join(err, c.Close()); err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				n, err := VerifySpool(hydrant.OS{}, filepath.Join(r.dir, "streams", "app"), &out)
				if tt.newer != errors.Is(err, buffer.ErrNewerFormat) || !tt.newer && (err != nil || n != 1 || !strings.Contains(out.String(), "batch 99 is not under way")) {
					t.Errorf("%d damaged, %v:\n%s", n, err, &out)
				}
			})
		})
	}
}
