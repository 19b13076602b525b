"""Books a room for two nights: python example.py listings/…"""

import os
import sys
from datetime import date, timedelta

import grpc
from google.type.date_pb2 import Date
from holdfast.client import connect, reason
from holdfast.listing.v1.listing_pb2 import Stay
from holdfast.reservation.v1.reservation_pb2 import CreateReservationRequest, Reservation
from holdfast.reservation.v1.reservation_pb2_grpc import ReservationServiceStub

arrival, departure = (date.today() + timedelta(days=ahead) for ahead in (30, 32))
stay = Stay(
    check_in_date=Date(year=arrival.year, month=arrival.month, day=arrival.day),
    check_out_date=Date(year=departure.year, month=departure.month, day=departure.day),
)
wish = Reservation(listing=sys.argv[1], stay=stay, units=1, persons=2)

reservations = ReservationServiceStub(connect(os.environ["HOLDFAST_RESERVATION_URL"], os.environ["CUSTOMER_TOKEN"]))
try:
    request = CreateReservationRequest(reservation=wish, payment_method="pm_card_visa")
    booked = reservations.CreateReservation(request).reservation
    print(booked.name, Reservation.State.Name(booked.state))
except grpc.RpcError as error:
    sys.exit(f"refused: {reason(error)}")
