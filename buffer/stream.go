package buffer

import (
	"bytes"
	"crypto/md5"
	"math/big"
	"slices"
	"sort"

	"github.com/hydrantd/hydrant"
)

// lanes are the open shards. They change only when the log is opened, so that routing needs no lock.
type lanes struct {
	ids    []uint32 // rising: the order in which they lie in a block
	his    [][16]byte
	ranges []int // by hash key: his[i] ends the range of lane ranges[i]
}

// makeLanes are the lanes of a set of shards.
func makeLanes(shards []Shard) lanes {
	var l lanes
	for _, s := range openShards(shards) {
		l.ids = append(l.ids, s.ID)
		l.his = append(l.his, s.Hi)
	}
	slices.Sort(l.ids)
	for _, s := range openShards(shards) {
		i, _ := slices.BinarySearch(l.ids, s.ID)
		l.ranges = append(l.ranges, i)
	}
	return l
}

// most is the most lanes that n records can go to.
func (l *lanes) most(n int) int64 { return int64(min(len(l.ids), n)) }

// of returns the lane whose range holds the MD5 of key, as Kinesis routes.
func (l *lanes) of(key []byte) int {
	h := md5.Sum(key)
	return l.ranges[sort.Search(len(l.his)-1, func(i int) bool { return bytes.Compare(l.his[i][:], h[:]) >= 0 })]
}

// openShards are those that take records, by their ranges.
func openShards(shards []Shard) []Shard {
	open := slices.DeleteFunc(slices.Clone(shards), func(s Shard) bool { return s.Closed })
	slices.SortFunc(open, func(a, b Shard) int { return bytes.Compare(a.Lo[:], b.Lo[:]) })
	return open
}

// route says for each record of a Write which lane it goes to: lane for all of them when per is nil. Records without a
// key go to one lane together, another one with each Write.
func (l *lanes) route(b *hydrant.Batch, turn uint64) (lane int, per []int) {
	if len(l.ids) == 1 {
		return 0, nil
	}
	keyless := int(turn % uint64(len(l.ids)))
	lane = -1
	for i := range b.Len() {
		to := keyless
		if r := b.At(i); r.Key != nil {
			to = l.of(r.Key)
		}
		switch {
		case per != nil:
			per = append(per, to)
		case lane < 0 || lane == to:
			lane = to
		default:
			per = make([]int, 0, b.Len())
			for range i {
				per = append(per, lane)
			}
			per = append(per, to)
		}
	}
	return max(lane, 0), per
}

// equalSplit returns where each of n equal ranges begins: w = 2^128/n rounded down, and the last takes the remainder.
func equalSplit(n int) [][16]byte {
	w := new(big.Int).Lsh(big.NewInt(1), 128)
	w.Div(w, big.NewInt(int64(n)))
	starts := make([][16]byte, n)
	for i := range starts {
		new(big.Int).Mul(w, big.NewInt(int64(i))).FillBytes(starts[i][:])
	}
	return starts
}

// before is the hash key just below h, which is not zero.
func before(h [16]byte) [16]byte {
	for i := 15; ; i-- {
		h[i]--
		if h[i] != 0xff {
			return h
		}
	}
}

// lastHash is the highest hash key.
var lastHash = [16]byte(bytes.Repeat([]byte{0xff}, 16))

// reshard brings the shards to n equal ranges by the splits and merges of Kinesis' UpdateShardCount: every open shard is
// split at the boundaries inside it, then neighbours within one range are merged pairwise, so that a shard has at
// most two parents. New ids follow on; a shard that was there is closed, never changed. It returns the
// shards that were opened and the ids of those closed, in order; both are empty when nothing needs to change.
func reshard(shards []Shard, n int, created int64) (opened []Shard, closed []uint32) {
	next := uint32(0)
	for _, s := range shards {
		next = max(next, s.ID+1)
	}
	open := openShards(shards)
	starts := equalSplit(n)
	add := func(lo, hi [16]byte, parents ...uint32) Shard {
		s := Shard{ID: next, Lo: lo, Hi: hi, Parents: parents, Created: created}
		next++
		opened = append(opened, s)
		closed = append(closed, parents...)
		return s
	}
	if len(open) == 0 {
		for i, lo := range starts {
			hi := lastHash
			if i+1 < n {
				hi = before(starts[i+1])
			}
			add(lo, hi)
		}
		return opened, nil
	}
	for i := 0; i < len(open); i++ {
		s := open[i]
		for _, at := range starts {
			if bytes.Compare(s.Lo[:], at[:]) < 0 && bytes.Compare(at[:], s.Hi[:]) <= 0 {
				open[i] = add(s.Lo, before(at), s.ID)
				open = slices.Insert(open, i+1, add(at, s.Hi, s.ID))
				closed = closed[:len(closed)-1] // one parent of two, named once
				break
			}
		}
	}
	for i := 0; i+1 < len(open); {
		a, b := open[i], open[i+1]
		if slices.Contains(starts, b.Lo) {
			i++
			continue
		}
		open = slices.Replace(open, i, i+2, add(a.Lo, b.Hi, a.ID, b.ID))
	}
	return opened, closed
}
