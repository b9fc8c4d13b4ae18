//go:build sabotage

package hydrant

import (
	"os"
	"strings"
)

// The points that HYDRANT_SABOTAGE names, separated by commas, are switched off.
var sabotaged = func() map[Point]bool {
	off := map[Point]bool{}
	for p := range strings.SplitSeq(os.Getenv("HYDRANT_SABOTAGE"), ",") {
		off[Point(p)] = true
	}
	return off
}()

// Sabotaged tells whether p is switched off in this process.
func Sabotaged(p Point) bool { return sabotaged[p] }
