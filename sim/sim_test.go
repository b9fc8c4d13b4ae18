package sim

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
)

// What a run of the simulation has to reach.
const (
	leastCrashes = 5000
	leastAtPoint = 50 // directly before each durability point, and directly after it
)

// TestSim plays seeds until enough has crashed.
//
//	go test ./sim -run TestSim$                  the seeds that everybody runs
//	SIM_SECONDS=600 go test ./sim -run TestSim$  others, for ten minutes
//	SIM_SEEDS=50 go test ./sim -run TestSim$     the first 50 seeds, until one fails
//	SIM_FLAVOUR=clones …                         only seeds of one kind
//	SIM_SEED=17 SIM_TRACE=FILE go test ./sim -run TestSim$   one, with what every actor did
func TestSim(t *testing.T) {
	if text := os.Getenv("SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SIM_SEED=%s: want a number", text)
		}
		replay(t, seed)
		return
	}
	next, last, until := uint64(0), uint64(1<<62), time.Time{}
	if text := os.Getenv("SIM_SECONDS"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SIM_SECONDS=%s: want a number", text)
		}
		until = time.Now().Add(time.Duration(seconds) * time.Second)
		next = uint64(time.Now().UnixNano()) >> 16
	} else if text := os.Getenv("SIM_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SIM_SEEDS=%s: want a number", text)
		}
		last = n
	} else if raceDetector {
		last = 20
	}
	whole := last == 1<<62 && until.IsZero()
	total := playAll(t, next, last, until, whole)
	t.Log(total.report())
	if !whole || t.Failed() {
		return
	}
	if total.crashes < leastCrashes {
		t.Errorf("%d crashes, want %d", total.crashes, leastCrashes)
	}
	for _, p := range allPoints() {
		if total.before[p] < leastAtPoint || total.after[p] < leastAtPoint {
			t.Errorf("%s: %d crashes directly before it and %d directly after it, want %d of each", p, total.before[p], total.after[p], leastAtPoint)
		}
	}
}

// enough tells whether a run has reached what it has to.
func (t *tally) enough() bool {
	for _, p := range allPoints() {
		if t.before[p] < leastAtPoint || t.after[p] < leastAtPoint {
			return false
		}
	}
	return t.crashes >= leastCrashes
}

// mostSeeds bounds a run that does not reach enough, mostFailures what is printed.
const (
	mostSeeds    = 1500
	mostFailures = 5
)

// playAll plays seeds on all cores, from next on: up to last, until a time, or until there is enough.
func playAll(t *testing.T, next, last uint64, until time.Time, whole bool) *tally {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var stop atomic.Bool
	total, at, failed := newTally(), next, 0
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				mu.Lock()
				seed := at
				at++
				mu.Unlock()
				if seed >= last || whole && seed >= mostSeeds || !until.IsZero() && time.Now().After(until) {
					return
				}
				_, one, err := play(seed, nil)
				mu.Lock()
				total.add(one)
				if err != nil {
					if failed++; failed == mostFailures || os.Getenv("SIM_SEEDS") != "" {
						stop.Store(true)
					}
					t.Errorf("seed %d: %v\nrepeat it: SIM_SEED=%d SIM_FLAVOUR='%s' go test ./sim -run 'TestSim$'", seed, err, seed, os.Getenv("SIM_FLAVOUR"))
				}
				if whole && total.enough() {
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return total
}

// replay plays one seed twice, the first time with a trace.
func replay(t *testing.T, seed uint64) {
	t.Helper()
	trace := io.Discard
	if name := os.Getenv("SIM_TRACE"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewWriterSize(f, 1<<20)
		defer func() { _, _ = b.Flush(), f.Close() }()
		trace = b
	}
	hash, total, err := play(seed, trace)
	t.Logf("hash %016x\n%s", hash, total.report())
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if again, _, err := play(seed, nil); again != hash || err != nil {
		t.Errorf("played again: hash %016x, %v", again, err)
	}
}

// TestASeedPlaysTwiceAlike plays whole scenarios twice.
func TestASeedPlaysTwiceAlike(t *testing.T) {
	seeds := uint64(12)
	if raceDetector {
		seeds = 3
	}
	for seed := range seeds {
		a, _, err := play(1000+seed, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", 1000+seed, err)
		}
		if b, _, err := play(1000+seed, nil); a != b || err != nil {
			t.Errorf("seed %d: hash %016x and then %016x (%v)", 1000+seed, a, b, err)
		}
	}
}

func allPoints() []hydrant.Point {
	return slices.Sorted(maps.Keys(points))
}

// report is a table of what was crashed.
func (t *tally) report() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d seeds, %d crashes (%d power cuts, %d kills), %d records, %d objects, up to %d steps in a seed\n", t.seeds, t.crashes, t.cuts, t.kills, t.records, t.objects, t.steps)
	fmt.Fprintf(&s, "%-16s %8s %8s\n", "point", "before", "after")
	for _, p := range allPoints() {
		fmt.Fprintf(&s, "%-16s %8d %8d\n", p, t.before[p], t.after[p])
	}
	return s.String()
}
