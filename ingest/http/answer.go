package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hydrantd/hydrant/buffer"
)

// refusal is an answer that says why nothing was taken in.
type refusal struct {
	status     int
	retryAfter int // seconds; 0: trying again as it is does not help
	why        string
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, why string) *refusal { return &refusal{status: status, why: why} }

func isRefusal(err error) bool { var r *refusal; return errors.As(err, &r) }

func tooLarge(limit int64) *refusal {
	return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than max_body, %d bytes", limit))
}

var (
	busy     = &refusal{http.StatusTooManyRequests, 1, "too much is under way: try again"}
	full     = &refusal{http.StatusTooManyRequests, 5, "the buffer is full: try again later"}
	closed   = &refusal{http.StatusServiceUnavailable, 5, "hydrant is starting or stopping: try again later"}
	poisoned = &refusal{http.StatusServiceUnavailable, 5, "the disk of hydrant failed; whether the records were kept is not known"}
	unknown  = &refusal{http.StatusInternalServerError, 5, "the log of hydrant failed; whether the records were kept is not known"}
)

// answerTo turns the outcome of an append, or of what came before it, into an answer. Nothing of the log's own words
// goes out: they name files.
func answerTo(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, buffer.ErrFull):
		return full
	case errors.Is(err, buffer.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "the body and the index of its lines are larger than a block: send fewer lines at once")
	case errors.Is(err, buffer.ErrClosed):
		return closed
	case errors.Is(err, buffer.ErrPoisoned):
		return poisoned
	}
	return unknown
}

func (r *refusal) write(w http.ResponseWriter) {
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	answer(w, r.status, struct {
		Error string `json:"error"`
	}{r.why})
}

func accept(w http.ResponseWriter, records int) {
	answer(w, http.StatusOK, struct {
		Records int `json:"records"`
	}{records})
}

// answer has ten seconds to be taken by the client. That it could not be is the client's to find out: the next attempt,
// or a lost answer, is the same to it.
func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("BUG: answer: %s", err))
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Second))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// countLines counts the records in lines: one for each newline, and one for what follows the last.
func countLines(body []byte) int64 {
	n := int64(bytes.Count(body, []byte{'\n'}))
	if body[len(body)-1] != '\n' {
		n++
	}
	return n
}
