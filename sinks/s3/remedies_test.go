package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/sinks"
)

func TestAWrongRegionIsToldWithTheRightOne(t *testing.T) {
	malformed := func(region string) reply {
		return reply{status: 400, body: "<Error><Code>AuthorizationHeaderMalformed</Code><Message>no</Message>" + region + "</Error>"}
	}
	for name, c := range map[string]struct {
		target string
		reply  reply
		remedy string
	}{
		"in a header": {"logs", reply{status: 301, code: "PermanentRedirect", header: map[string]string{"X-Amz-Bucket-Region": "us-west-2"}},
			`correct region: it is "eu-west-1", and bucket logs is in "us-west-2", says http://store.test`},
		"in the error":       {"logs", malformed("<Region>us-west-2</Region>"), `correct region: it is "eu-west-1", and bucket logs is in "us-west-2", says http://store.test`},
		"nowhere":            {"logs", malformed(""), `correct region: it is "eu-west-1", and bucket logs is in another region, says http://store.test`},
		"as what is set":     {"logs", malformed("<Region>eu-west-1</Region>"), `is in another region, says`},
		"as what is no name": {"logs", malformed("<Region>\n</Region>"), `is in another region, says`},
		"of a former bucket": {"wrong", malformed("<Region>us-west-2</Region>"),
			`the configured region is "eu-west-1", and bucket wrong is in "us-west-2", says http://store.test; the batch is spooled for`},
		"by a body that ends": {"logs", reply{status: 301, body: "<Error><Region>us-west-2"}, `is in another region, says`},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := scripted(t, nil, func(string, *http.Request) reply { return c.reply })
			p := small()
			p.target = c.target
			operator(t, p.ship(s), c.remedy)
		})
	}
	s, _ := scripted(t, nil, func(string, *http.Request) reply { return malformed("<Region>us-west-2</Region>") })
	if err := small().ship(s); !strings.Contains(err.Error(), "400 AuthorizationHeaderMalformed: no") {
		t.Errorf("the error is lost: %v", err)
	}
}

// A Ready batch keeps its bucket: no key of the configuration helps it when that names another.
func TestABatchForABucketThatIsNoLongerConfigured(t *testing.T) {
	const want = "; the batch is spooled for bucket wrong, which is no longer configured: create it (or allow access to it), or stop hydrant and run " +
		"`hydrant buffer forget DATA_DIR app/archive`, after which the destination starts at the oldest record kept " +
		"(records already delivered and still kept come again)"
	for _, c := range []struct {
		reply  reply
		remedy string // before want
	}{
		{refusal(404, "NoSuchBucket"), "create bucket wrong in http://store.test"},
		{refusal(404, ""), "check endpoint: http://store.test answers"},
		{refusal(403, "AccessDenied"), "check the credentials"},
		{refusal(403, "RequestTimeTooSkewed"), "set this machine's clock"},
		{refusal(412, "PreconditionFailed"), "remove the object s3://wrong/x"},
	} {
		t.Run(fmt.Sprintf("%d %s", c.reply.status, c.reply.code), func(t *testing.T) {
			s, _ := scripted(t, nil, func(op string, _ *http.Request) reply {
				if op == "Head" && c.reply.status == 412 {
					return headOf(big())
				}
				return c.reply
			})
			p := small()
			p.target = "wrong"
			for name, err := range map[string]error{"ship": p.ship(s), "resolve": s.Resolve(context.Background(), p.shipment())} {
				o, ok := errors.AsType[*sinks.OperatorError](err)
				if !ok {
					t.Fatalf("%s: %v is not the operator's", name, err)
				}
				if !strings.HasSuffix(o.Remedy, want) || name == "ship" && !strings.HasPrefix(o.Remedy, c.remedy) || strings.Contains(o.Remedy, "bucket:") {
					t.Errorf("%s: remedy %q, want %q%s", name, o.Remedy, c.remedy, want)
				}
			}
		})
	}
}
