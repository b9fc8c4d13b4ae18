package buffer

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"slices"
	"testing"

	"github.com/hydrantd/hydrant"
)

// vectors are the part of the Kinesis test vectors that is about shards.
type vectors struct {
	PartitionKeys []struct {
		Key        string         `json:"key"`
		ShardIndex map[string]int `json:"shard_index"`
	} `json:"partition_keys"`
	EqualSplit map[string][]struct{ Start, End string } `json:"equal_split"`
	Updates    []struct {
		FromEqual int `json:"from_equal"`
		To        int `json:"to"`
		OpenAfter []struct {
			Shard      uint32
			Start, End string
		} `json:"open_after"`
	} `json:"update_shard_count_examples"`
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/kinesis-shards.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func decimal(h [16]byte) string { return new(big.Int).SetBytes(h[:]).String() }

func shardsOf(t *testing.T, from []Shard, n int) []Shard {
	t.Helper()
	f := newFold()
	for _, s := range from {
		f.open(s)
	}
	opened, closed := reshard(from, n, 1)
	for _, s := range opened {
		f.open(s)
	}
	for _, id := range closed {
		f.close(ShardClosed{ID: id})
	}
	return f.shards
}

func TestKeysAreRoutedAsKinesisDoes(t *testing.T) {
	v := readVectors(t)
	for _, n := range []int{1, 3, 4, 7} {
		l := makeLanes(shardsOf(t, nil, n))
		for _, k := range v.PartitionKeys {
			if got := l.ids[l.of([]byte(k.Key))]; int(got) != k.ShardIndex[fmt.Sprint(n)] {
				t.Errorf("%.20q goes to shard %d of %d, want %d", k.Key, got, n, k.ShardIndex[fmt.Sprint(n)])
			}
		}
	}
}

func TestShardsAreEqualRanges(t *testing.T) {
	for n, want := range readVectors(t).EqualSplit {
		got := shardsOf(t, nil, len(want))
		for i := range want {
			if decimal(got[i].Lo) != want[i].Start || decimal(got[i].Hi) != want[i].End || int(got[i].ID) != i {
				t.Errorf("%s shards: %d is %s-%s, want %s-%s", n, i, decimal(got[i].Lo), decimal(got[i].Hi), want[i].Start, want[i].End)
			}
		}
	}
}

func TestAnotherNumberOfShardsSplitsAndMerges(t *testing.T) {
	for _, u := range readVectors(t).Updates {
		before := shardsOf(t, nil, u.FromEqual)
		after := shardsOf(t, before, u.To)
		for i, s := range openShards(after) {
			if w := u.OpenAfter[i]; s.ID != w.Shard || decimal(s.Lo) != w.Start || decimal(s.Hi) != w.End {
				t.Errorf("%d to %d: open %d is %d %s-%s, want %d %s-%s", u.FromEqual, u.To, i, s.ID, decimal(s.Lo), decimal(s.Hi), w.Shard, w.Start, w.End)
			}
		}
		for _, s := range after {
			if int(s.ID) >= u.FromEqual && (len(s.Parents) == 0 || len(s.Parents) > 2) {
				t.Errorf("%d to %d: shard %d has the parents %v", u.FromEqual, u.To, s.ID, s.Parents)
			}
		}
		if opened, closed := reshard(after, u.To, 1); len(opened)+len(closed) > 0 {
			t.Errorf("%d to %d, again: %d opened, %d closed", u.FromEqual, u.To, len(opened), len(closed))
		}
	}
}

func TestAChangedNumberOfShardsIsInTheLog(t *testing.T) {
	f := newFixture(t)
	f.o.Shards = 2
	f.open()
	f.append("a")
	f.o.Shards = 3
	f.reopen()
	f.append("b")
	for range 2 {
		f.reopen()
		var open []uint32
		for _, s := range f.log.State().Shards {
			if !s.Closed {
				open = append(open, s.ID)
			}
		}
		if !slices.Equal(open, []uint32{2, 5, 6}) || len(f.log.State().Shards) != 7 {
			t.Fatalf("shards %+v", f.log.State().Shards)
		}
	}
	f.want(1, "a", "b")
	f.close()
}

func TestRecordsWithoutAKeyStayTogether(t *testing.T) {
	f := newFixture(t)
	f.o.Shards = 4
	f.open()
	seen := map[uint32]int{}
	for range 8 {
		r := f.append("a", "b", "c")
		var b hydrant.Batch
		if _, err := f.log.Reader(Filter{}).Read(r.Position(0), r.Position(2)+1, &b); err != nil {
			t.Fatal(err)
		}
		if b.At(0).Shard != b.At(2).Shard {
			t.Errorf("one write went to the shards %d and %d", b.At(0).Shard, b.At(2).Shard)
		}
		seen[b.At(0).Shard]++
	}
	if len(seen) != 4 || seen[0] != 2 {
		t.Errorf("8 writes went to the shards %v", seen)
	}
	f.close()
}
