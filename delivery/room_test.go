package delivery

import (
	"errors"
	"testing"
	"time"

	"github.com/hydrantd/hydrant/sinks"
)

// A worker that fills a hole before a restored batch needs room while it holds the turn. What is Ready behind the hole must
// not have taken that room.
func TestRoomForAHoleBeforeWhatIsReady(t *testing.T) {
	for _, c := range []struct {
		say                    string
		workers                int
		share, shareAfterwards int64
	}{
		{"with the share used up", 2, 1500, 1500},
		{"with fewer workers and a smaller share", 1, 4000, 1500},
	} {
		t.Run(c.say, func(t *testing.T) {
			inRig(t, func(o *Options) { o.Concurrency, o.SpoolBytes = 2, c.share }, func(r *rig) {
				r.target.encode = func(data string) error { // the first batch is not built, those behind it are
					if data[len(data)-2] == '0' {
						return errors.New("not now")
					}
					return nil
				}
				r.target.fail(func(int, *sinks.Shipment) error { return errRefused })
				r.append(numbered(20, 100)...)
				r.start()
				r.pass(10 * time.Minute)
				r.kill()
				r.target.encode = nil
				r.target.fail(nil)
				r.o.Concurrency, r.o.SpoolBytes = c.workers, c.shareAfterwards
				r.start()
				r.pass(time.Hour)
				if n := len(r.target.data()); n != 20 {
					t.Errorf("%d of 20 records after an hour with a target that takes everything", n)
				}
				r.kill()
			})
		})
	}
}
