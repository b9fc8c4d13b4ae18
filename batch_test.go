package hydrant_test

import (
	"bytes"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBatchCopiesWhatItIsGiven(t *testing.T) {
	var b hydrant.Batch
	key, data := []byte("key"), []byte("data")
	b.Append(hydrant.Record{Pos: 7, Key: key, Data: data})
	b.Append(hydrant.Record{Pos: 8, Data: nil})
	key[0], data[0] = 'X', 'X'
	if r := b.At(0); string(r.Key) != "key" || string(r.Data) != "data" || r.Pos != 7 {
		t.Errorf("record 0 is %q %q at %d", r.Key, r.Data, r.Pos)
	}
	if r := b.At(1); r.Key != nil || len(r.Data) != 0 {
		t.Errorf("record 1 has key %q, data %q; want none", r.Key, r.Data)
	}
	if b.Len() != 2 || b.Bytes() != 4 {
		t.Errorf("Len %d, Bytes %d; want 2, 4", b.Len(), b.Bytes())
	}
}

func TestViewsOutliveGrowth(t *testing.T) {
	var b hydrant.Batch
	for i := range 1000 {
		b.Append(hydrant.Record{Data: bytes.Repeat([]byte{byte(i)}, 1000)})
	}
	for i := range 1000 {
		if d := b.At(i).Data; len(d) != 1000 || d[0] != byte(i) || d[999] != byte(i) {
			t.Fatalf("record %d was overwritten", i)
		}
	}
}

func TestResetKeepsMemoryAndForgetsRecords(t *testing.T) {
	var b hydrant.Batch
	b.Append(hydrant.Record{Data: make([]byte, 1<<20)})
	had := b.Cap()
	b.Reset()
	if b.Len() != 0 || b.Bytes() != 0 || b.Cap() != had {
		t.Errorf("after Reset: Len %d, Bytes %d, Cap %d; want 0, 0, %d", b.Len(), b.Bytes(), b.Cap(), had)
	}
}

func TestCapCountsTheIndexAndWhatIsLeantOn(t *testing.T) {
	var b hydrant.Batch
	for range 10_000 {
		b.View(hydrant.Record{})
	}
	index := b.Cap()
	if index < 10_000*100 || index > 10_000*200 {
		t.Errorf("10000 empty records take %d bytes", index)
	}
	b.Lean(1 << 20)
	if b.Cap() != index+1<<20 {
		t.Errorf("%d bytes, %d of them leant on; want %d more", b.Cap(), 1<<20, index)
	}
	if b.Reset(); b.Cap() != index {
		t.Errorf("after Reset: %d bytes, want %d", b.Cap(), index)
	}
}

func TestNamesOfIdentities(t *testing.T) {
	log := hydrant.LogID{0, 1, 2, 3, 4, 5, 6, 7, 8, 0xff}
	run := hydrant.RunID{0x1f, 0x2e, 0x33, 0xaa}
	if got, want := fmt.Sprint(log, " ", run, " ", hydrant.Span{From: 3, To: 9}), "aaaqeayeaudaoch7 1f2e33aa 3-9"; got != want {
		t.Errorf("names are %q, want %q", got, want)
	}
}
