DROP TABLE increments;
DROP TABLE bookings;
DROP TABLE capacities;
DROP TABLE listings;
