package delivery

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hydrantd/hydrant/sinks"
)

func TestBatchesEndWhereTheyShould(t *testing.T) {
	tests := []struct {
		name  string
		batch Batch
		feed  func(r *rig)
		want  []int // records of each object
	}{
		{"a backlog is cut at the record that reaches the size", Batch{tenRecords, time.Hour}, func(r *rig) {
			r.append(numbered(25, 100)...)
		}, []int{10, 10, 5}},
		{"a record larger than a batch is a batch", Batch{tenRecords, time.Hour}, func(r *rig) {
			r.append(numbered(3, 5000)...)
		}, []int{1, 1, 1}},
		{"records that cross the size end the batch behind them", Batch{tenRecords, time.Hour}, func(r *rig) {
			r.append(numbered(8, 300)...)
		}, []int{4, 4}},
		{"empty records end a batch too", Batch{10 * perRecord, time.Hour}, func(r *rig) {
			r.append(make([]string, 25)...)
		}, []int{10, 10, 5}},
		{"empty records that arrive one by one end a batch too", Batch{10 * perRecord, time.Hour}, func(r *rig) {
			for range 25 {
				r.append("")
				synctest.Wait()
			}
		}, []int{10, 10, 5}},
		{"one block of many batches arrives live", Batch{tenRecords, time.Hour}, func(r *rig) {
			r.append(numbered(1, 100)...)
			synctest.Wait()
			r.append(numbered(24, 100)...)
		}, []int{10, 10, 5}},
		{"the interval counts from the first record", Batch{tenRecords, 10 * time.Second}, func(r *rig) {
			r.pass(time.Minute)
			r.append(numbered(1, 10)...)
			r.pass(9 * time.Second)
			r.append(numbered(2, 10)...)
			r.pass(2 * time.Second)
			r.append(numbered(4, 10)...)
			r.pass(time.Second)
		}, []int{3, 4}},
		{"no interval, and a batch is what is there", Batch{tenRecords, 0}, func(r *rig) {
			for _, n := range []int{1, 2, 3} {
				r.append(numbered(n, 10)...)
				synctest.Wait()
			}
		}, []int{1, 2, 3}},
		{"nothing arrives and nothing is made", Batch{tenRecords, time.Second}, func(r *rig) { r.pass(time.Hour) }, nil},
		{"a new run begins a new batch", Batch{tenRecords, time.Hour}, func(r *rig) {
			r.append(numbered(3, 10)...)
			synctest.Wait()
			r.restart()
			r.append(numbered(4, 10)...)
		}, []int{3, 4}},
	}
	for _, tt := range tests {
		for _, concurrency := range []int{1, 4} {
			t.Run(tt.name, func(t *testing.T) {
				inRig(t, func(o *Options) { o.Batch, o.Concurrency = tt.batch, concurrency }, func(r *rig) {
					r.start()
					tt.feed(r)
					close(r.drain)
					if err := <-r.done; err != nil {
						t.Fatal(err)
					}
					r.cancel()
					got := r.target.sizes()
					if concurrency > 1 {
						slices.Sort(got)
						tt.want = slices.Sorted(slices.Values(tt.want))
					}
					if !slices.Equal(got, tt.want) {
						t.Errorf("objects of %v records, want %v", got, tt.want)
					}
					var n int64
					for _, size := range tt.want {
						n += int64(size)
					}
					r.addsUp(Status{Appended: records(n), Ledger: Ledger{Delivered: records(n)}})
					if entries, err := r.o.FS.ReadDir(r.o.Dir); err != nil || len(entries) > 0 {
						t.Errorf("the spool holds %d folders at the end, want none (%v)", len(entries), err)
					}
					if used := r.o.Memory.Used(); used != 0 {
						t.Errorf("%d bytes of memory are held at the end", used)
					}
					if r.d.room.Used() != 0 {
						t.Errorf("%d bytes of the spool's share are held at the end", r.d.room.Used())
					}
				})
			})
		}
	}
}

func TestVisibleInOrderWithOneWorker(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		want := numbered(200, 100)
		r.append(want...)
		r.target.before = func(n int, _ *sinks.Shipment) error {
			if n%3 == 0 {
				return errors.New("503")
			}
			return nil
		}
		r.drained()
		if got := r.target.data(); !slices.Equal(got, want) {
			t.Errorf("not in order: %.200q", got)
		}
	})
}

func TestManyWorkersDeliverABacklogOnce(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 8 }, func(r *rig) {
		want := numbered(2000, 100)
		for at := range 20 {
			r.append(want[at*100 : (at+1)*100]...)
		}
		r.target.after = func(n int, _ *sinks.Shipment) error {
			if n%4 == 0 {
				return errors.New("the answer is lost")
			}
			return nil
		}
		r.drained()
		r.target.holds(t, want)
		r.addsUp(Status{Appended: records(2000), Ledger: Ledger{Delivered: records(2000)}})
	})
}

func TestAHardStopReturnsAtOnceWhateverIsUnderWay(t *testing.T) {
	tests := []struct {
		name string
		set  func(r *rig)
	}{
		{"waiting for records", func(r *rig) {}},
		{"a live batch", func(r *rig) { r.append("one") }},
		{"a sink that hangs", func(r *rig) { r.target.hang = true; r.append(numbered(30, 100)...) }},
		{"backing off", func(r *rig) {
			r.target.before = func(int, *sinks.Shipment) error { return errors.New("503") }
			r.append(numbered(30, 100)...)
		}},
		{"holding", func(r *rig) {
			r.target.before = func(int, *sinks.Shipment) error { return sinks.Operator(errors.New("403"), "grant it") }
			r.append(numbered(30, 100)...)
		}},
		{"waiting for memory", func(r *rig) { r.o.Memory.Try(r.o.Memory.Total()); r.append("one") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, func(o *Options) { o.Concurrency, o.Batch.Interval = 2, time.Hour }, func(r *rig) {
				tt.set(r)
				r.start()
				r.pass(10 * time.Minute)
				before := time.Now()
				r.kill()
				if took := time.Since(before); took != 0 {
					t.Errorf("the stop took %v", took)
				}
				r.target.before, r.target.hang = nil, false
				if used := r.o.Memory.Used(); used == r.o.Memory.Total() {
					r.o.Memory.Give(used)
				}
				r.drained()
				s := r.status()
				if s.Delivered != s.Appended {
					t.Errorf("after a restart: %+v", s)
				}
			})
		})
	}
}

func TestASinkThatHangsDoesNotHoldTheOthers(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 2 }, func(r *rig) {
		other := r.o
		second := newTarget()
		other.Destination, other.Sink, other.Dir = "second", second, r.dir+"/spool/second"
		r.target.hang = true
		want := numbered(50, 100)
		r.append(want...)
		r.start()
		r2 := &rig{t: t, dir: r.dir, log: r.log, target: second, errs: r.errs, lines: r.lines, o: other}
		r2.start()
		r.pass(time.Minute)
		second.holds(t, want)
		if used := r.o.Memory.Used(); used != 0 {
			t.Errorf("%d bytes of memory are held by a delivery that waits for its sink", used)
		}
		r2.kill()
		r.kill()
	})
}
