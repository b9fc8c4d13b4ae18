package s3

import (
	"encoding/json"
	"fmt"

	"github.com/hydrantd/hydrant/sinks"
)

// note is what this sink remembers of a batch in the delivery's journal, as JSON. The zero note is no note.
type note struct {
	// Upload is the multipart upload that was begun for Key in Bucket. Only uploads that stand here are ever aborted.
	Upload string `json:"upload,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"`
	// Barred: an empty object may have been put under the name, to keep stragglers out (see Resolve). A 412 does not
	// prove that the batch is there, then.
	Barred bool `json:"barred,omitempty"`
	// Loose: the object may have been put without a condition. An empty object does not keep that attempt out.
	Loose bool `json:"loose,omitempty"`
}

func readNote(b []byte) (note, error) {
	var n note
	if len(b) == 0 {
		return n, nil
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return note{}, fmt.Errorf("the note of the batch: %w", err)
	}
	return n, nil
}

// save remembers n durably before what it announces is done.
func save(s *sinks.Shipment, n note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := s.Save(b); err != nil {
		return err
	}
	s.Saved = b
	return nil
}
