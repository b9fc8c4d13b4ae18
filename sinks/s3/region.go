package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// regionHeader is where a store names the region of a bucket.
const regionHeader = "X-Amz-Bucket-Region"

// maxErrorBody bounds what is read of an error's body to find a region, in bytes.
const maxErrorBody = 64 << 10

// regionOf is the bucket's region as the answer names it that an error reports; "" if it names none.
func regionOf(err error) string {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) && r.Response != nil && r.Response.Response != nil {
		if region := r.Response.Header.Get(regionHeader); regionName.MatchString(region) {
			return region
		}
	}
	return ""
}

// keepRegion copies the Region element of an error, which the SDK drops, to the header where regionOf looks.
func keepRegion(s *middleware.Stack) error {
	return s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("KeepRegion", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error,
	) {
		out, meta, err := next.HandleDeserialize(ctx, in)
		r, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok || r.Body == nil || r.StatusCode != http.StatusMovedPermanently && r.StatusCode != http.StatusBadRequest || r.Header.Get(regionHeader) != "" {
			return out, meta, err
		}
		head, readErr := io.ReadAll(io.LimitReader(r.Body, maxErrorBody))
		var told struct{ Region string }
		if xml.Unmarshal(head, &told) == nil && told.Region != "" {
			r.Header.Set(regionHeader, told.Region)
		}
		r.Body = &replayed{io.MultiReader(bytes.NewReader(head), failing{readErr}, r.Body), r.Body}
		return out, meta, nil
	}), middleware.After)
}

// replayed is a body whose beginning has been read already.
type replayed struct {
	io.Reader
	io.Closer
}

// failing is the error that ended reading, if any.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}
