// Tells the README's story with the generated client: books a stay, loses an answer, meets an outage, cancels.
//
// Environment: HOLDFAST_<SERVICE>_URL of each service, HOST_TOKEN and CUSTOMER_TOKEN. A line that begins with "? " on
// standard output asks for a misfortune; a line on standard input says that it has come about. Any surprise ends the
// program with a panic.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/type/date"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"holdfast.dev/client"
	listing "holdfast.dev/client/holdfast/listing/v1"
	mileage "holdfast.dev/client/holdfast/mileage/v1"
	payment "holdfast.dev/client/holdfast/payment/v1"
	reservation "holdfast.dev/client/holdfast/reservation/v1"
	view "holdfast.dev/client/holdfast/view/v1"
)

const patience = 60 * time.Second

var (
	// As long as the servers allow: what calls this may be busy.
	ctx, _ = context.WithTimeout(context.Background(), 10*patience)
	input  = bufio.NewReader(os.Stdin)

	hosts        = listing.NewListingServiceClient(connect("LISTING", "HOST"))
	listings     = listing.NewListingServiceClient(connect("LISTING", "CUSTOMER"))
	reservations = reservation.NewReservationServiceClient(connect("RESERVATION", "CUSTOMER"))
	payments     = payment.NewPaymentServiceClient(connect("PAYMENT", "CUSTOMER"))
	accounts     = mileage.NewMileageServiceClient(connect("MILEAGE", "CUSTOMER"))
	views        = view.NewViewServiceClient(connect("VIEW", "CUSTOMER"))
)

func connect(service, role string) *grpc.ClientConn {
	return must(client.Connect(os.Getenv("HOLDFAST_"+service+"_URL"), os.Getenv(role+"_TOKEN")))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(holds bool, what ...any) {
	if !holds {
		panic(fmt.Sprint(what...))
	}
}

func ok(what string) { fmt.Println("  ok", what) }

func please(misfortune string) {
	fmt.Println("?", misfortune)
	must(input.ReadString('\n'))
}

// eventually asks again until the condition holds.
func eventually(what string, condition func() bool) {
	for limit := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		check(time.Now().Before(limit), "not within a minute: ", what)
	}
	ok(what)
}

func day(ahead int) *date.Date {
	year, month, day := time.Now().AddDate(0, 0, ahead).Date()
	return &date.Date{Year: int32(year), Month: int32(month), Day: int32(day)}
}

func offer() string {
	room := &listing.Listing{
		DisplayName: "Hanok by the stream", Kind: listing.Listing_KIND_ROOM,
		Price:           &money.Money{CurrencyCode: "KRW", Units: 90_000},
		DefaultCapacity: 1, TimeZone: "Asia/Seoul",
	}
	return must(hosts.CreateListing(ctx, &listing.CreateListingRequest{Listing: room})).Listing.Name
}

func wish(name string, ahead int) *reservation.CreateReservationRequest {
	stay := &listing.Stay{CheckInDate: day(ahead), CheckOutDate: day(ahead + 2)}
	wanted := &reservation.Reservation{
		Listing: name, Slot: &reservation.Reservation_Stay{Stay: stay}, Units: 1, Persons: 2,
	}
	return &reservation.CreateReservationRequest{Reservation: wanted, PaymentMethod: "pm_card_visa"}
}

func book(request *reservation.CreateReservationRequest) (*reservation.Reservation, error) {
	answer, err := reservations.CreateReservation(ctx, request)
	return answer.GetReservation(), err
}

func count() int {
	page := &reservation.ListReservationsRequest{PageSize: 500}
	return len(must(reservations.ListReservations(ctx, page)).Reservations)
}

func free(ctx context.Context, name string, ahead int) (int32, error) {
	dates := &listing.DateRange{StartDate: day(ahead), EndDate: day(ahead + 2)}
	answer, err := listings.QueryAvailability(ctx, &listing.QueryAvailabilityRequest{Name: name, Dates: dates})
	if err != nil {
		return 0, err
	}
	return answer.Availabilities[0].Available, nil
}

func miles() int64 {
	account := &mileage.GetMileageAccountRequest{Name: "users/me/mileageAccount"}
	return must(accounts.GetMileageAccount(ctx, account)).MileageAccount.Balance
}

func paid(booked *reservation.Reservation) payment.Payment_State {
	return must(payments.GetPayment(ctx, &payment.GetPaymentRequest{Name: booked.Payment})).Payment.State
}

func shown(booked *reservation.Reservation) reservation.Reservation_State {
	name := strings.Replace(booked.Name, "reservations/", "trips/", 1)
	answer, err := views.GetTrip(ctx, &view.GetTripRequest{Name: name})
	check(err == nil || client.Reason(err) == "TRIP_NOT_FOUND", err)
	return answer.GetTrip().GetReservation().GetState()
}

func aBooking(name string) *reservation.Reservation {
	check(must(free(ctx, name, 40)) == 1)
	request := wish(name, 40)
	booked := must(book(request))
	check(booked.State == reservation.Reservation_STATE_CONFIRMED, booked)
	check(request.RequestId != "", "the client has named it")
	check(proto.Equal(must(book(request)), booked))
	ok("confirmed, and a repeat gives the same answer")
	check(paid(booked) == payment.Payment_STATE_APPROVED)
	check(miles() == 1)
	ok("paid, one mile earned")
	eventually("the view shows it", func() bool { return shown(booked) == booked.State })
	return booked
}

func refusals(name string) {
	_, err := book(wish(name, 40))
	check(status.Code(err) == codes.FailedPrecondition && client.Reason(err) == "NO_AVAILABILITY", err)
	_, comesBack := client.RetryDelay(err)
	check(!comesBack, err)

	wrong := wish(name, 40)
	wrong.Reservation.Persons = -1
	_, err = book(wrong)
	invalid, told := client.Detail[*errdetails.BadRequest](err)
	check(told && invalid.FieldViolations[0].Field == "reservation.persons", err)
	ok("refused, with the reason and the field")
}

func aLostAnswer(name string) {
	before := count()
	please("lose the answer")
	booked := must(book(wish(name, 50)))
	check(booked.State == reservation.Reservation_STATE_CONFIRMED, booked)
	check(count() == before+1)
	ok("an answer was lost, the call was repeated by itself, and there is one reservation")
}

func anOutage(name string) {
	please("freeze listing")
	answered := make(chan int32)
	go func() { answered <- must(free(ctx, name, 60)) }()
	_, err := free(context.Background(), name, 60)
	check(status.Code(err) == codes.DeadlineExceeded, err)
	please("thaw listing")
	check(<-answered == 1)
	ok("a call without a deadline ended by its default, a patient one was answered")

	before := count()
	request := wish(name, 60)
	please("stop listing")
	_, err = book(request)
	check(status.Code(err) == codes.Unavailable && client.Reason(err) == "LISTING_UNAVAILABLE", err)
	please("start listing")
	eventually("told when to come back, and booked then", func() bool {
		_, err := book(request)
		check(err == nil || status.Code(err) == codes.Unavailable, err)
		delay, _ := client.RetryDelay(err)
		time.Sleep(delay)
		return err == nil
	})
	check(must(book(request)).State == reservation.Reservation_STATE_CONFIRMED)
	check(count() == before+1)
	ok("one request_id, one reservation")
}

func aCancellation(booked *reservation.Reservation) {
	before := miles()
	must(reservations.CancelReservation(ctx, &reservation.CancelReservationRequest{Name: booked.Name}))
	eventually("cancelled, and the view knows", func() bool {
		return shown(booked) == reservation.Reservation_STATE_CANCELLED
	})
	eventually("refunded", func() bool { return paid(booked) == payment.Payment_STATE_CANCELLED })
	eventually("the mile taken back", func() bool { return miles() == before-1 })
	eventually("the room free again", func() bool { return must(free(ctx, booked.Listing, 40)) == 1 })
}

func main() {
	name := offer()
	booked := aBooking(name)
	refusals(name)
	aLostAnswer(name)
	anOutage(name)
	aCancellation(booked)
}
