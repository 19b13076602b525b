// Package client connects to Holdfast with what its contracts promise as defaults.
//
// A call without a deadline gets the one of its contract; one that is safe to repeat is repeated while the service is
// unavailable; and one that changes something is named by a request_id, so that a repeat never does it twice.
package client

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	contract "holdfast.dev/client/holdfast/options/v1"
)

//go:embed service_config.json
var serviceConfig string

// Connect leads to https://host:port with the system's certificates, or to http://host:port in plain text. The options
// come after its own.
func Connect(address, token string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	target, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	var transport credentials.TransportCredentials
	switch target.Scheme {
	case "https":
		transport = credentials.NewTLS(nil)
	case "http":
		transport = insecure.NewCredentials()
	default:
		return nil, fmt.Errorf("%q begins neither with https:// nor with http://", address)
	}
	defaults := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(bearer(token)),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(),
		grpc.WithChainUnaryInterceptor(said),
	}
	return grpc.NewClient(target.Host, append(defaults, options...)...)
}

// Detail is what the service tells about its refusal, e.g. *errdetails.BadRequest; ok is false if it does not.
func Detail[D proto.Message](err error) (detail D, ok bool) {
	for _, each := range status.Convert(err).Details() {
		if detail, ok = each.(D); ok {
			break
		}
	}
	return detail, ok
}

// Reason is the stable name of the refusal, e.g. NO_AVAILABILITY; empty where no service has answered.
func Reason(err error) string {
	info, _ := Detail[*errdetails.ErrorInfo](err)
	return info.GetReason()
}

// RetryDelay says after how long coming back may help; ok is false if the service does not say.
func RetryDelay(err error) (delay time.Duration, ok bool) {
	info, ok := Detail[*errdetails.RetryInfo](err)
	return info.GetRetryDelay().AsDuration(), ok
}

// said says what the caller has not. The name goes into the caller's own message: sending that again is a repeat, too.
func said(
	ctx context.Context, method string, request, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if message, ok := request.(proto.Message); ok {
		fields := message.ProtoReflect()
		if id := fields.Descriptor().Fields().ByName("request_id"); id != nil && fields.Get(id).String() == "" {
			fields.Set(id, protoreflect.ValueOfString(uuid.NewString()))
		}
	}
	if _, ok := ctx.Deadline(); !ok {
		within, cancel := context.WithTimeout(ctx, timeout(method))
		defer cancel()
		ctx = within
	}
	return invoke(ctx, method, request, reply, conn, options...)
}

// timeout is what the server takes where the caller says nothing.
func timeout(path string) time.Duration {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."))
	method, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return time.Minute
	}
	deadline, _ := proto.GetExtension(method.Options(), contract.E_Deadline).(*contract.Deadline)
	return time.Duration(deadline.GetDefaultMs()) * time.Millisecond
}

type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

// RequireTransportSecurity is false: the address says whether the way is safe enough.
func (bearer) RequireTransportSecurity() bool { return false }
