package delivery

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/hydrantd/hydrant"
)

func TestOddPositionsComeBack(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		const start = 1000
		want := map[hydrant.Position]int{}
		s := &spool{fs: quick{}, dir: t.TempDir()}
		f := s.folder(1)
		w := oddWriter{folder: f, next: start}
		for pos := hydrant.Position(start); pos < start+500; {
			n := 1 + random.IntN(20)
			if parts := random.IntN(6) - 2; parts >= 0 {
				for i := range n {
					want[pos+hydrant.Position(i)] = parts
				}
				if err := w.note(pos, int64(n), parts); err != nil {
					t.Fatal(err)
				}
			}
			pos += hydrant.Position(n)
		}
		outputs, err := w.finish()
		if err != nil || len(outputs) != 1 {
			t.Fatalf("%d outputs, %v", len(outputs), err)
		}
		if err := f.seal(outputs); err != nil {
			t.Fatal(err)
		}
		c, err := s.open(1, outputs[0].Output)
		if err != nil {
			t.Fatal(err)
		}
		r := readOdd(c, outputs[0].Size, start)
		for pos := hydrant.Position(start); pos < start+520; pos += 1 + hydrant.Position(random.IntN(3)) {
			odd, parts, err := r.at(pos)
			if n, is := want[pos]; err != nil || odd != is || is && parts != uint64(n) {
				t.Fatalf("seed %d: position %d: odd %v, %d parts, %v; want %v, %d", seed, pos, odd, parts, err, is, n)
			}
		}
		c.Close()
	}
}

func FuzzReadOdd(f *testing.F) {
	f.Add([]byte{3, 1, 0, 0, 2, 5})
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := readOdd(bytes.NewReader(b), int64(len(b)), 1)
		for pos := hydrant.Position(1); pos < 300; pos++ {
			if _, _, err := r.at(pos); err != nil {
				return
			}
		}
	})
}
