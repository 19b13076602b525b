"""Tells the README's story with the generated client: books a stay, loses an answer, meets an outage, cancels.

Environment: HOLDFAST_<SERVICE>_URL of each service, HOST_TOKEN and CUSTOMER_TOKEN. A line that begins with "? " on standard
output asks for a misfortune; a line on standard input says that it has come about. Any surprise ends the program with a
traceback and exit code 1.
"""

import os
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from holdfast.client import connect, detail, reason, retry_delay_s
from holdfast.listing.v1 import listing_pb2, listing_pb2_grpc
from holdfast.mileage.v1 import mileage_pb2, mileage_pb2_grpc
from holdfast.payment.v1 import payment_pb2, payment_pb2_grpc
from holdfast.reservation.v1 import reservation_pb2, reservation_pb2_grpc
from holdfast.view.v1 import view_pb2, view_pb2_grpc

# As long as the servers allow: what calls this may be busy.
PATIENCE_S = 60

State = reservation_pb2.Reservation.State


def channel(service: str, role: str) -> grpc.Channel:
    return connect(os.environ[f"HOLDFAST_{service}_URL"], os.environ[f"{role}_TOKEN"])


def ok(what: str) -> None:
    print("  ok", what, flush=True)


def please(misfortune: str) -> None:
    print("?", misfortune, flush=True)
    input()


def eventually(what: str, condition: Callable[[], bool]) -> None:
    """Asks again until the condition holds."""
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.02)
    ok(what)


def refusal(call: Callable[[], Any]) -> grpc.RpcError:
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"not refused: {answer}")


listings = listing_pb2_grpc.ListingServiceStub(channel("LISTING", "CUSTOMER"))
reservations = reservation_pb2_grpc.ReservationServiceStub(channel("RESERVATION", "CUSTOMER"))
payments = payment_pb2_grpc.PaymentServiceStub(channel("PAYMENT", "CUSTOMER"))
mileage = mileage_pb2_grpc.MileageServiceStub(channel("MILEAGE", "CUSTOMER"))
views = view_pb2_grpc.ViewServiceStub(channel("VIEW", "CUSTOMER"))


def day(ahead: int) -> Date:
    then = date.today() + timedelta(days=ahead)
    return Date(year=then.year, month=then.month, day=then.day)


def offer() -> str:
    hosts = listing_pb2_grpc.ListingServiceStub(channel("LISTING", "HOST"))
    price = Money(currency_code="KRW", units=90_000)
    room = listing_pb2.Listing(display_name="Hanok by the stream", kind=listing_pb2.Listing.KIND_ROOM, price=price)
    room.default_capacity, room.time_zone = 1, "Asia/Seoul"
    return hosts.CreateListing(listing_pb2.CreateListingRequest(listing=room), PATIENCE_S).listing.name


def wish(listing: str, ahead: int) -> reservation_pb2.CreateReservationRequest:
    stay = listing_pb2.Stay(check_in_date=day(ahead), check_out_date=day(ahead + 2))
    wanted = reservation_pb2.Reservation(listing=listing, stay=stay, units=1, persons=2)
    return reservation_pb2.CreateReservationRequest(reservation=wanted, payment_method="pm_card_visa")


def book(request: reservation_pb2.CreateReservationRequest) -> reservation_pb2.Reservation:
    return reservations.CreateReservation(request, PATIENCE_S).reservation


def count() -> int:
    page = reservation_pb2.ListReservationsRequest(page_size=500)
    return len(reservations.ListReservations(page, PATIENCE_S).reservations)


def nights(listing: str, ahead: int) -> listing_pb2.QueryAvailabilityRequest:
    dates = listing_pb2.DateRange(start_date=day(ahead), end_date=day(ahead + 2))
    return listing_pb2.QueryAvailabilityRequest(name=listing, dates=dates)


def free(listing: str, ahead: int) -> int:
    return listings.QueryAvailability(nights(listing, ahead), PATIENCE_S).availabilities[0].available


def miles() -> int:
    account = mileage_pb2.GetMileageAccountRequest(name="users/me/mileageAccount")
    return mileage.GetMileageAccount(account, PATIENCE_S).mileage_account.balance


def paid(booked: reservation_pb2.Reservation) -> int:
    return payments.GetPayment(payment_pb2.GetPaymentRequest(name=booked.payment), PATIENCE_S).payment.state


def shown(booked: reservation_pb2.Reservation) -> int | None:
    name = booked.name.replace("reservations/", "trips/")
    try:
        return views.GetTrip(view_pb2.GetTripRequest(name=name), PATIENCE_S).trip.reservation.state
    except grpc.RpcError as error:
        assert reason(error) == "TRIP_NOT_FOUND", error
        return None


def a_booking(listing: str) -> reservation_pb2.Reservation:
    assert free(listing, 40) == 1
    request = wish(listing, 40)
    booked = book(request)
    assert booked.state == State.STATE_CONFIRMED, booked
    assert request.request_id, "the client has named it"
    again = book(request)
    assert again.SerializeToString(deterministic=True) == booked.SerializeToString(deterministic=True)
    ok("confirmed, and a repeat gives the same answer")
    assert paid(booked) == payment_pb2.Payment.STATE_APPROVED
    assert miles() == 1
    ok("paid, one mile earned")
    eventually("the view shows it", lambda: shown(booked) == State.STATE_CONFIRMED)
    return booked


def refusals(listing: str) -> None:
    taken = refusal(lambda: book(wish(listing, 40)))
    assert taken.code() == grpc.StatusCode.FAILED_PRECONDITION, taken
    assert (reason(taken), retry_delay_s(taken)) == ("NO_AVAILABILITY", None)
    wrong = wish(listing, 40)
    wrong.reservation.persons = -1
    invalid = refusal(lambda: book(wrong))
    violations = detail(invalid, BadRequest)
    assert violations and violations.field_violations[0].field == "reservation.persons", invalid
    ok("refused, with the reason and the field")


def a_lost_answer(listing: str) -> None:
    before = count()
    please("lose the answer")
    booked = book(wish(listing, 50))
    assert booked.state == State.STATE_CONFIRMED, booked
    assert count() == before + 1
    ok("an answer was lost, the call was repeated by itself, and there is one reservation")


def an_outage(listing: str) -> None:
    please("freeze listing")
    patient = listings.QueryAvailability.future(nights(listing, 60), PATIENCE_S)
    late = refusal(lambda: listings.QueryAvailability(nights(listing, 60)))
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
    please("thaw listing")
    assert patient.result().availabilities[0].available == 1
    ok("a call without a timeout ended by its default, a patient one was answered")

    before = count()
    request = wish(listing, 60)
    please("stop listing")
    away = refusal(lambda: book(request))
    assert (away.code(), reason(away)) == (grpc.StatusCode.UNAVAILABLE, "LISTING_UNAVAILABLE"), away
    please("start listing")

    def back() -> bool:
        try:
            return book(request).state == State.STATE_CONFIRMED
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            time.sleep(retry_delay_s(error) or 0)
            return False

    eventually("told when to come back, and booked then", back)
    assert book(request).state == State.STATE_CONFIRMED
    assert count() == before + 1
    ok("one request_id, one reservation")


def a_cancellation(booked: reservation_pb2.Reservation) -> None:
    before = miles()
    reservations.CancelReservation(reservation_pb2.CancelReservationRequest(name=booked.name), PATIENCE_S)
    eventually("cancelled, and the view knows", lambda: shown(booked) == State.STATE_CANCELLED)
    eventually("refunded", lambda: paid(booked) == payment_pb2.Payment.STATE_CANCELLED)
    eventually("the mile taken back", lambda: miles() == before - 1)
    eventually("the room free again", lambda: free(booked.listing, 40) == 1)


def main() -> None:
    listing = offer()
    booked = a_booking(listing)
    refusals(listing)
    a_lost_answer(listing)
    an_outage(listing)
    a_cancellation(booked)


if __name__ == "__main__":
    main()
