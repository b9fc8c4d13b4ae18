package delivery

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// golden reads a vector that was written from FORMAT.md: a line is bytes, two spaces and what they say.
func golden(t *testing.T, name string) (all []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "buffer", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "  ")
		if strings.HasPrefix(line, "#") {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		all = append(all, b...)
	}
	return all
}

func TestGoldenEntries(t *testing.T) {
	files, err := filepath.Glob("../buffer/testdata/entry-*.hex")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]uint8{
		"entry-snapshot.hex": typeSnapshot, "entry-ready.hex": typeReady, "entry-save.hex": typeSave,
		"entry-outcome.hex": typeOutcome, "entry-done.hex": typeDone,
	}
	if len(files) != len(types) {
		t.Errorf("%d vectors, want %d: %v", len(files), len(types), files)
	}
	for name, kind := range types {
		want := buffer.Entry{Type: kind, Body: golden(t, name)}
		v, err := decodeEntry(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := v.(interface{ entry() buffer.Entry }).entry(); got.Type != kind || !bytes.Equal(got.Body, want.Body) {
			t.Errorf("%s comes back as type %d\n%swant\n%s", name, got.Type, hex.Dump(got.Body), hex.Dump(want.Body))
		}
	}
	v, err := decodeEntry(buffer.Entry{Type: typeReady, Body: golden(t, "entry-ready.hex")})
	if err != nil {
		t.Fatal(err)
	}
	r := v.(ready)
	if r.batch != 11 || r.span != (hydrant.Span{From: 1000, To: 1010}) || r.run.String() != "1f2e33aa" || r.read != (buffer.Totals{Records: 9, Bytes: 900}) ||
		len(r.outputs) != 3 || r.outputs[0].File != "records.0" || r.outputs[1].role != roleErrors || r.outputs[2].role != roleOdd {
		t.Errorf("entry-ready.hex is taken for %+v", r)
	}
	for i, want := range []suffix{toTarget, transformFailed} {
		if got := suffixOf(r.outputs[i].File); got != want {
			t.Errorf("%s belongs to shipment %d, want %d", r.outputs[i].File, got, want)
		}
	}
}

func TestGoldenOdd(t *testing.T) {
	const from, to = 1000, 1010
	want := golden(t, "spool-odd.hex")
	r := readOdd(bytes.NewReader(want), int64(len(want)), from)
	s := &spool{fs: quick{}, dir: t.TempDir()}
	f := s.folder(1)
	w := oddWriter{folder: f, next: from}
	for pos := hydrant.Position(from); pos < to; pos++ {
		odd, parts, err := r.at(pos)
		if err != nil {
			t.Fatal(err)
		}
		wantOdd, wantParts := pos >= 1002 && pos <= 1005, uint64(1)
		switch {
		case pos == 1005:
			wantParts = 300
		case wantOdd:
			wantParts = 0
		}
		if odd != wantOdd || parts != wantParts {
			t.Errorf("position %d: odd %v, %d parts; want %v, %d", pos, odd, parts, wantOdd, wantParts)
		}
		if odd {
			if err := w.note(pos, 1, int(parts)); err != nil {
				t.Fatal(err)
			}
		}
	}
	outputs, err := w.finish()
	if err != nil || len(outputs) != 1 {
		t.Fatalf("%d outputs, %v", len(outputs), err)
	}
	if err := f.seal(outputs); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(s.path(1), oddFile))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("it comes back as % x, want % x (%v)", got, want, err)
	}
}
