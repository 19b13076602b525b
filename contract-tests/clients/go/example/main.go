// Books a room for two nights: go run ./example listings/…
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/type/date"
	"holdfast.dev/client"
	listing "holdfast.dev/client/holdfast/listing/v1"
	reservation "holdfast.dev/client/holdfast/reservation/v1"
)

func day(ahead int) *date.Date {
	year, month, day := time.Now().AddDate(0, 0, ahead).Date()
	return &date.Date{Year: int32(year), Month: int32(month), Day: int32(day)}
}

func main() {
	connection, err := client.Connect(os.Getenv("HOLDFAST_RESERVATION_URL"), os.Getenv("CUSTOMER_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	stay := &listing.Stay{CheckInDate: day(30), CheckOutDate: day(32)}
	answer, err := reservation.NewReservationServiceClient(connection).CreateReservation(
		context.Background(),
		&reservation.CreateReservationRequest{
			Reservation: &reservation.Reservation{
				Listing: os.Args[1], Slot: &reservation.Reservation_Stay{Stay: stay}, Units: 1, Persons: 2,
			},
			PaymentMethod: "pm_card_visa",
		})
	if err != nil {
		log.Fatalln("refused:", client.Reason(err))
	}
	fmt.Println(answer.Reservation.Name, answer.Reservation.State)
}
