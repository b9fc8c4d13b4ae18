package faultproxy

import (
	"math/rand/v2"
	"net/http"
)

// Script does one fault after the other, a request each, and then none.
func Script(faults ...Fault) Plan {
	return func(*http.Request) Fault {
		if len(faults) == 0 {
			return None
		}
		next := faults[0]
		faults = faults[1:]
		return next
	}
}

// Random does one of the faults, each as likely as the others, to a share of the requests (0 to 1). The same seed gives
// the same row of faults.
func Random(seed uint64, share float64, faults ...Fault) Plan {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(*http.Request) Fault {
		if r.Float64() >= share {
			return None
		}
		return faults[r.IntN(len(faults))]
	}
}

// Only applies a plan to the requests of a method, and lets the others through.
func Only(method string, plan Plan) Plan {
	return func(r *http.Request) Fault {
		if r.Method != method {
			return None
		}
		return plan(r)
	}
}

// Matching applies a plan to the requests that match, and lets the others through.
func Matching(match func(*http.Request) bool, plan Plan) Plan {
	return func(r *http.Request) Fault {
		if !match(r) {
			return None
		}
		return plan(r)
	}
}
